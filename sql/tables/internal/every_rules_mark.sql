create or replace function perch.every_rules_mark()
returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select md5(string_agg(concat(r.app_id, ' ', r.table_name, ' ', r.rules_mark), ',' order by r.app_id, r.table_name))
    from perch.synced_relations r
   where r.rules_mark is not null
$$;
grant execute on function perch.every_rules_mark to perch_worker;

comment on function perch.every_rules_mark() is
  'Private. Identifies the rules of all synced tables, as perch.rules_mark those of some; null where there never were any.';
