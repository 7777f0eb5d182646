-- A table whose options are set again is another row version (xmin): what has changed meanwhile and back is no longer
-- the same.
create or replace function perch.table_digests(schema_names text[], table_names text[])
returns text[]
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select array(
    select md5(concat_ws(E'\n', (select l.epoch from perch.log_epoch l), f.found::text,
             (select r.xmin from perch.synced_relations r where r.relation = (f.found).relation),
             case when (f.found).relation is not null then perch.shape_columns(f.found, '{}') end))
      from unnest(schema_names, table_names) with ordinality t (schema_name, table_name, nth)
     cross join lateral (select perch.find_relation(t.schema_name, t.table_name) offset 0) f (found)
     order by t.nth)
$$;
grant execute on function perch.table_digests to perch_worker;

comment on function perch.table_digests(text[], text[]) is
  'Private. Of each of these tables (by schema and name in the database) a digest of its options as a synced table, its columns, and the epoch of the log.';
