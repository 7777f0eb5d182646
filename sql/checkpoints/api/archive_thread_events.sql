create or replace function perch.archive_thread_events(thread_id text, up_to bigint, fencing_token bigint default null)
returns setof perch.thread_events
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  tenant constant text := perch.require_tenant();
  log perch.thread_logs;
begin
  if perch.catches_undone() then
    begin
      return query select * from perch.archive_thread_events(thread_id, up_to, fencing_token);
      return;
    exception when serialization_failure then
      perform perch.fail_undone(sqlerrm);
    end;
  end if;
  if archive_thread_events.fencing_token is not null then
    perform perch.require_lease(tenant, archive_thread_events.thread_id, archive_thread_events.fencing_token);
  else
    -- Locked, so that no lease begins meanwhile. A log that nobody has written to has none, and nothing to archive.
    perform from perch.thread_leases l
      where l.tenant_id = tenant and l.thread_id = archive_thread_events.thread_id
        for key share;
    perform perch.require_no_lease(tenant, archive_thread_events.thread_id);
  end if;
  select l.* into log
    from perch.thread_logs l
   where l.tenant_id = tenant and l.thread_id = archive_thread_events.thread_id
     for no key update;
  if archive_thread_events.up_to is null
    or archive_thread_events.up_to not between 0 and coalesce(log.last_number, 0) then
    perform perch.fail('PE422', 'up_to is no number of this log',
      jsonb_build_object('argument', 'up_to', 'expected', format('0 to %s', coalesce(log.last_number, 0)),
        'got', archive_thread_events.up_to));
  end if;
  update perch.thread_logs l
     set archived_until = archive_thread_events.up_to,
         archived_mark = (select e.mark from perch.thread_events e
                           where e.tenant_id = tenant and e.thread_id = archive_thread_events.thread_id
                             and e.number = archive_thread_events.up_to)
   where l.tenant_id = tenant and l.thread_id = archive_thread_events.thread_id
     and l.archived_until < archive_thread_events.up_to;
  return query
    with taken as (
      delete from perch.thread_events e
       where e.tenant_id = tenant and e.thread_id = archive_thread_events.thread_id
         and e.number <= archive_thread_events.up_to
      returning e.*
    )
    select t.* from taken t order by t.number;
end
$$;
grant execute on function perch.archive_thread_events to perch_app;

comment on function perch.archive_thread_events(text, bigint, bigint) is
  'Takes the events up to a number out of the log of a thread of the current tenant, and returns them, so that they can be kept elsewhere in the same transaction. The number is remembered: the log goes on counting where it was, also when it is empty now. Again, or with a lower number: no rows. fencing_token as in perch.put_checkpoint. Errors: PE401, PE409 for a lease, PE422 when there is no such number yet.';
