-- Of a table that is on one node alone, Citus makes the triggers on what holds its rows, and its log is written beside
-- them, whichever node was told to write: so those can be synced.
create or replace function perch.place_on_citus(relation regclass)
returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  place text;
begin
  if exists (select from pg_extension e where e.extname = 'citus') then
    select case when p.repmodel = 't' then 'reference'
                when p.partmethod <> 'n' or p.colocationid <> 0 then 'distributed' end into place
      from pg_dist_partition p
     where p.logicalrelid in (select r.relid from pg_partition_ancestors(place_on_citus.relation) r
                              union all select place_on_citus.relation)
     limit 1;
  end if;
  return place;
end
$$;

comment on function perch.place_on_citus(regclass) is
  'Private. How Citus (12 or later) keeps a table on several nodes, or on another: reference or distributed; null when it does not.';
