-- A commit that notifies holds a lock of the whole cluster, so writers notify only while no worker has promised to look
-- by itself. As for perch.notify_changes, nothing is lost by that: what is captured is committed with the writer's
-- rows, whoever looks later finds it, and workers look by a slow poll for as long as they live.
create or replace function perch.notify_captured()
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  style constant text := 'YYYY-MM-DD HH24:MI:SS.US';
  watched_until constant timestamptz := (select s.watched_until from perch.sequencer s);
begin
  if perch.may_be_prepared()
     or current_setting('perch.watched_until', true) collate "C" > to_char(clock_timestamp() at time zone 'UTC', style)
  then
    return;
  elsif watched_until > clock_timestamp() then
    -- The promise stands, so this session need not ask again before it ends.
    perform set_config('perch.watched_until',
      to_char(watched_until at time zone 'UTC', style), false);
  else
    perform pg_notify('perch_captured', '{"v": 1}');
  end if;
end
$$;
grant execute on function perch.notify_captured to perch_worker;

comment on function perch.notify_captured() is
  'Private. Tells the workers that something was captured, unless one watches.';
