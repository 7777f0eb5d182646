-- A table whose options are set again is another row version (xmin): what has changed meanwhile and back is no longer
-- the same.
create or replace function perch.table_digests(schema_names text[], table_names text[])
returns text[]
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select array(
    select md5(concat_ws(E'\n', (select l.epoch from perch.log_epoch l), r.xmin, r::text, c.columns))
      from unnest(schema_names, table_names) with ordinality t (schema_name, table_name, nth)
      left join pg_namespace n on n.nspname = t.schema_name
      left join pg_class o on o.relnamespace = n.oid and o.relname = t.table_name
      left join perch.synced_relations r on r.relation = o.oid and exists (
        select from pg_trigger g join pg_proc p on p.oid = g.tgfoid
         where g.tgrelid = o.oid and p.pronamespace = 'perch'::regnamespace)
     cross join lateral (select case when r.relation is not null then perch.shape_columns(r, '{}') end) c (columns)
     order by t.nth)
$$;
grant execute on function perch.table_digests to perch_worker;

comment on function perch.table_digests(text[], text[]) is
  'Private. Of each of these tables (by schema and name in the database) a digest of its options as a synced table, its columns, and the epoch of the log.';
