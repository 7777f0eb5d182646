create or replace function perch.logs_with_rules()
returns text[]
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select array(
    select concat(r.app_id, ' ', r.table_name) from perch.synced_relations r
     where r.rules_mark is not null
    union all
    select concat(c.app_id, ' ', c.table_name) from perch.closed_logs c where c.position > 0)
$$;
grant execute on function perch.logs_with_rules to perch_app, perch_worker;

comment on function perch.logs_with_rules() is
  'Private. The synced tables, as "app table", whose entries are shown by functions alone, which apply the rules: for the policy of perch.sync_changes.';
