-- Lines of an export become changes all at once. The functions return something else now.

-- Up Migration

drop function if exists perch.restored_changes(jsonb, text, bigint);
drop function if exists perch.restored_pieces(jsonb, bigint);
drop function if exists perch.restored_fields(jsonb);

-- Down Migration

drop function if exists perch.restored_changes(jsonb, text, bigint);
drop function if exists perch.restored_pieces(jsonb, bigint);
drop function if exists perch.restored_fields(jsonb);
