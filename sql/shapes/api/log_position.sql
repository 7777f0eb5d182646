create or replace function perch.log_position()
returns bigint
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce((select l.position from perch.sync_changes l where l.position is not null
    order by l.position desc limit 1), 0)
$$;
grant execute on function perch.log_position to perch_worker;

comment on function perch.log_position() is
  'For perch_worker: the greatest position in the log, of all that is committed. Example: select perch.log_position();';
