-- A chunk comes in several rows now, and a message is made whole.

-- Up Migration

drop function if exists perch.shape_rows(text, text, jsonb, text[], text[], bigint, pg_snapshot, integer);
drop function if exists perch.row_message(regclass, text[], text[], text[]);

-- Down Migration

drop function if exists perch.shape_rows(text, text, jsonb, text[], text[], bigint, pg_snapshot, integer);
drop function if exists perch.row_message(regclass, text[], text[], text[], text);
