create or replace function perch.load_thread_events(thread_id text, after bigint default null,
  max_count integer default 1000, after_mark bigint default null)
returns setof perch.thread_events
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
  tenant constant text := perch.require_tenant();
  log perch.thread_logs;
  found_mark bigint;
  begun bigint;
begin
  perform perch.check_count(load_thread_events.max_count);
  select l.* into log
    from perch.thread_logs l
   where l.tenant_id = tenant and l.thread_id = load_thread_events.thread_id;
  -- A part of what was asked for, given out as if it were all, would be worse than none.
  if load_thread_events.after is not null
     and load_thread_events.after not between coalesce(log.archived_until, 0) and coalesce(log.last_number, 0) then
    perform perch.fail('PE410', 'the log does not have every event after this number',
      jsonb_build_object('thread_id', load_thread_events.thread_id, 'after', load_thread_events.after,
        'archived_until', coalesce(log.archived_until, 0), 'last_number', coalesce(log.last_number, 0)),
      'Events up to archived_until are archived; there is none after last_number.');
  end if;
  if load_thread_events.after > 0 and load_thread_events.after_mark is not null then
    select e.mark into found_mark from perch.thread_events e
     where e.tenant_id = tenant and e.thread_id = load_thread_events.thread_id and e.number = load_thread_events.after;
    -- An event that was archived in another history of the log is as unknown as one that was not.
    if coalesce(found_mark, log.archived_mark, load_thread_events.after_mark) <> load_thread_events.after_mark then
      perform perch.fail('PE410', 'the log has another event at this number: the database went back to an earlier '
        'state, or the thread was deleted',
        jsonb_build_object('thread_id', load_thread_events.thread_id, 'after', load_thread_events.after,
          'archived_until', log.archived_until, 'last_number', log.last_number, 'reason', 'epoch'),
        'Load the log again from its beginning.');
    end if;
  end if;
  -- Not in the query: what a policy guards is looked up by nothing that might tell of it, and of COALESCE Postgres
  -- takes that for possible.
  begun := coalesce(load_thread_events.after, log.archived_until, 0);
  return query
    select e.* from perch.thread_events e
     where e.tenant_id = tenant and e.thread_id = load_thread_events.thread_id and e.number > begun
     order by e.number
     limit load_thread_events.max_count;
end
$$;
grant execute on function perch.load_thread_events to perch_app;

comment on function perch.load_thread_events(text, bigint, integer, bigint) is
  'The events of a thread of the current tenant after a number, in order, at most max_count; without after, from the first that is not archived. after_mark: the mark that came with the event after: then it is also told when a database that went back, or a thread that was deleted and made again, has another event at that number. Errors: PE401, PE410 when events after that number are archived, the log does not reach it, or has another event there (DETAIL: archived_until, last_number), PE422 when max_count is not between 1 and 10000. Example: select number, mark, event from perch.load_thread_events(thread_id => ''run-1'', after => 41);';
