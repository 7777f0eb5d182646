-- The row of the log is locked from here until commit: numbers are in commit order, and a rollback gives them back. A
-- lease on the thread keeps nobody from appending: who talks to an agent at work must be able to, and what is appended
-- changes nothing of before.
create or replace function perch.append_thread_events(thread_id text, events jsonb[], fencing_token bigint default null)
returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
  tenant constant text := perch.require_tenant();
  added constant integer := coalesce(cardinality(append_thread_events.events), 0);
  last bigint;
begin
  if perch.catches_undone() then
    begin
      return perch.append_thread_events(thread_id, events, fencing_token);
    exception when serialization_failure then
      perform perch.fail_undone(sqlerrm);
    end;
  end if;
  perform perch.check_id(append_thread_events.thread_id, 'thread_id');
  if added = 0 or array_position(append_thread_events.events, null) is not null then
    perform perch.fail('PE422', 'events is empty, or has a null in it', jsonb_build_object('argument', 'events'),
      'Pass an array of one event or more, each a JSON value.');
  end if;
  perform perch.check_state_size(octet_length(append_thread_events.events::text));
  perform perch.check_numbers(e, e::text, 'an event') from unnest(append_thread_events.events) e
    where perch.may_have_long_number(e::text);
  if append_thread_events.fencing_token is not null then
    perform perch.require_lease(tenant, append_thread_events.thread_id, append_thread_events.fencing_token);
  else
    perform perch.make_lease(tenant, append_thread_events.thread_id);
  end if;
  insert into perch.thread_logs as l (tenant_id, thread_id, last_number)
  values (tenant, append_thread_events.thread_id, added)
  on conflict on constraint thread_logs_pkey do update set last_number = l.last_number + excluded.last_number
  returning l.last_number into last;
  insert into perch.thread_events (tenant_id, thread_id, number, event, mark)
  select tenant, append_thread_events.thread_id, last - added + e.nth, e.event, perch.new_revision()
    from unnest(append_thread_events.events) with ordinality e (event, nth);
  return last;
end
$$;
grant execute on function perch.append_thread_events to perch_app;

comment on function perch.append_thread_events(text, jsonb[], bigint) is
  'Appends events to the log of a thread of the current tenant, in the caller''s transaction; returns the number of the last. Numbers start from 1 and have no gaps. The thread need not have a checkpoint. fencing_token: it fails unless the lease that perch.acquire_lease gave it with is the last; without one events are appended whoever has a lease. Errors: PE401, PE409 for a lost lease, PE413, PE422. Example: select perch.append_thread_events(thread_id => ''run-1'', events => array[''{"said": "hello"}''::jsonb]);';
