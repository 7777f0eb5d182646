-- Functions that take one argument more now: which fields a reader wants.

-- Up Migration

drop function if exists perch.pull(text, jsonb, integer, text[], text, jsonb);
drop function if exists perch.pull_text(text, jsonb, integer, text[], text, jsonb);
drop function if exists perch.pull_page(text, jsonb, integer, text[], text, jsonb);
drop function if exists perch.read_page(perch.log_place[], text, text[], text, text[], jsonb, text[], integer, integer, bigint);
drop function if exists perch.stream_page(text, text[], text[], bigint, text, jsonb, integer, text[], text, jsonb);
drop function if exists perch.snapshot_records(text, text, text, integer, jsonb, text[], jsonb);
drop function if exists perch.snapshot_text(text, text, text, integer, jsonb, text[], jsonb);
drop function if exists perch.snapshot_page(text, text, text[], jsonb, text, text, integer, bigint);
drop function if exists perch.synced_page(text, text, text[], text, text, integer, bigint, bigint, bigint);

-- Down Migration
