-- What a restored backup (another server, or another database of it) and a promoted standby (another timeline) do not
-- have in common with what they came from. A copy of the data folder that is started in place has all of it in common:
-- that is found out by its entries (perch.check_history). What this login may not ask is left out, for as long as it
-- may not.
create or replace function perch.server_identity()
returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  server text;
  timeline text;
begin
  if pg_is_in_recovery() then
    return null;
  end if;
  begin
    server := (select s.system_identifier from pg_control_system() s);
  exception when insufficient_privilege or feature_not_supported then
    server := null;
  end;
  begin
    timeline := left(pg_walfile_name(pg_current_wal_lsn()), 8);
  exception when insufficient_privilege or feature_not_supported then
    timeline := null;
  end;
  return concat_ws('/', coalesce(server, '-'), coalesce(timeline, '-'), (select d.oid from pg_database d
    where d.datname = current_database()));
end
$$;
grant execute on function perch.server_identity to perch_worker;

comment on function perch.server_identity() is
  'Private. System identifier, timeline and database, as text; null on a standby.';
