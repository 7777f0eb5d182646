create or replace function perch.last_epoch()
returns table (begun_at timestamptz, reason text, lost jsonb)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select b.begun_at, b.reason, b.lost
    from perch.log_epoch e join perch.begun_epochs b on b.epoch = e.epoch
$$;
grant execute on function perch.last_epoch to perch_worker;

comment on function perch.last_epoch() is
  'For perch_worker: when and why the epoch of the log was begun, where a worker began it (perch.check_history), and what of the log was gone that the worker had read: {"team": {"seen": 150, "head": 100}}, of each such space how far it had read and how far the log went then. No row where nobody found the database changed. Example: select * from perch.last_epoch();';
