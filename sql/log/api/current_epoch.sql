create or replace function perch.current_epoch()
returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select e.epoch::text from perch.log_epoch e
$$;
grant execute on function perch.current_epoch to perch_app;

comment on function perch.current_epoch() is
  'The epoch of the log: another one is begun by perch.new_epoch, and where the database went back. Example: select perch.current_epoch();';
