create or replace function perch.upgrade_error(change jsonb, app_id text, table_name text, from_version integer,
  to_version integer)
returns text
language sql stable security definer
set search_path = pg_catalog, pg_temp
return perch.try_upgrade(change, app_id, table_name, from_version, to_version) ->> 'failed';
grant execute on function perch.upgrade_error to perch_worker;

comment on function perch.upgrade_error(jsonb, text, text, integer, integer) is
  'For perch_worker, whose perch doctor asks: why the upgrades of a table cannot lift a change {"op", "table", "id", "data", "field_meta"}; null when they can. Example: select perch.upgrade_error(change => ''{"op": "insert", "data": {}}'', app_id => ''todo'', table_name => ''tasks'', from_version => 1, to_version => 2);';
