-- A chunk of a shape comes as the columns of its rows; messages are made of them by whoever serves it.

-- Up Migration

drop function if exists perch.shape_rows(text, text, jsonb, text[], text[], bigint, pg_snapshot, integer);
drop function if exists perch.shape_texts(perch.synced_relations, text[], jsonb, text[], jsonb);
drop function if exists perch.row_message(regclass, text[], text[], text[], text);

-- Down Migration

drop function if exists perch.shape_rows(text, text, jsonb, text[], text[], bigint, pg_snapshot, integer);
drop function if exists perch.shape_texts(perch.synced_relations, text[], jsonb, text[], jsonb);
drop function if exists perch.message_frame(text[], text[], text[], text);
