-- One change that an upgrade cannot deal with must not keep anybody from all the others.
create or replace function perch.try_upgrade(change jsonb, app_id text, table_name text, from_version integer,
  to_version integer)
returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return perch.upgrade_change(change, app_id, table_name, from_version, to_version);
exception when sqlstate 'PE422' then
  return jsonb_build_object('failed', sqlerrm);
end
$$;

comment on function perch.try_upgrade(jsonb, text, text, integer, integer) is
  'Private. What perch.upgrade_change makes of a change, or {"failed": why}.';
