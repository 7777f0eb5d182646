-- The place of a snapshot is that of a row in sight.

-- Up Migration

drop function if exists perch.synced_page(text, text, text[], text, text, integer, bigint, bigint, bigint, jsonb);
drop function if exists perch.read_snapshot_place(text, text);

-- Down Migration

drop function if exists perch.synced_page(
  text, text, text[], text, text, integer, bigint, bigint, bigint, jsonb, integer);
drop function if exists perch.read_snapshot_place(text, text);
