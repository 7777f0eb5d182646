-- How many spaces somebody has made, for perch.create_space.

-- Up Migration

create index spaces_by_maker on perch.spaces (created_by);

-- Down Migration
drop index perch.spaces_by_maker;
