-- Of a table with one space for all that one alone counts: so all who may read it have the same shape, whatever else
-- they may read.
create or replace function perch.shape_spaces(synced perch.synced_relations)
returns text[]
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select case when synced.space_id is null then array(select s from unnest(perch.current_space_ids()) s order by s)
              when synced.space_id = any (perch.current_space_ids()) then array[synced.space_id] else '{}' end
$$;

comment on function perch.shape_spaces(perch.synced_relations) is
  'Private. The spaces of the current user that rows of a synced table may be in.';
