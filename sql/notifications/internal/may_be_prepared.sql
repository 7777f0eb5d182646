-- Postgres prepares no transaction that has notified. Citus prepares those of a node in which several nodes have
-- written, and says in the name of its sessions that they are its own. Who claims to be one keeps its own
-- notifications back, as with the setting, and nothing else.
create or replace function perch.may_be_prepared()
returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(current_setting('perch.watched_until', true) = 'infinity', false)
      or starts_with(current_setting('application_name'), 'citus_internal ')
$$;
grant execute on function perch.may_be_prepared to perch_worker;

comment on function perch.may_be_prepared() is
  'Private. Whether what this session writes to synced tables is found by the workers'' polls alone, since its transactions may be prepared: as its setting perch.watched_until (infinity) says, and in the sessions of Citus that other nodes have made.';
