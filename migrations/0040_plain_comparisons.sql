-- Whether a filter fails for no row depends on the types of its columns.

-- Up Migration

drop function if exists perch.never_fails(jsonb);

-- Down Migration

drop function if exists perch.never_fails(jsonb, jsonb);
