-- What writes of perch.read_log and perch.read_log_snapshot, which on a standby read what has its place.
create or replace function perch.give_places(reader text)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform perch.require_reader(reader);
  perform perch.number_waiting();
  perform perch.order_commits();
end
$$;
grant execute on function perch.give_places to perch_app;

comment on function perch.give_places(text) is
  'For services that read from a standby: before each perch.read_log there, gives what was committed its place in the order that it reads. On the server that takes writes perch.read_log does so itself. Errors: PE403 when the reader is not registered, or for another login; PE404 when nothing is noted for readers. Example: select perch.give_places(reader => ''search'');';
