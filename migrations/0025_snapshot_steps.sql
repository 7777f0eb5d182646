-- Functions that return their result otherwise now.

-- Up Migration

drop function if exists perch.read_snapshot_place(text, text);
drop function if exists perch.snapshot_position(text, text, text, bigint, text);
drop function if exists perch.snapshot_page(text, text, text[], jsonb, text, text, integer, bigint);

-- Down Migration
