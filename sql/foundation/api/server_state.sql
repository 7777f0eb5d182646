create or replace function perch.server_state(
  out only_reads boolean, out notification_queue float8, out commit_seconds float8)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select pg_is_in_recovery() or current_setting('transaction_read_only')::boolean, pg_notification_queue_usage(),
         (select extract(epoch from clock_timestamp() - min(a.query_start))
            from pg_stat_get_activity(null) a where a.wait_event = 'SyncRep')
$$;
grant execute on function perch.server_state to perch_app, perch_worker;

comment on function perch.server_state() is
  'Whether the server takes writes: only_reads; how full its queue of notifications is (notification_queue, 0 to 1: a listener that does not read fills it, and then nothing that notifies can be committed); for how long the commit that has waited longest for a synchronous standby has done so (commit_seconds; null: none waits). A login is shown what its own sessions wait for, those of other processes among them. Example: select * from perch.server_state();';
