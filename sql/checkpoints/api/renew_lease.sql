create or replace function perch.renew_lease(thread_id text, token bigint, duration interval default '30 seconds')
returns timestamptz
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  tenant constant text := perch.require_tenant();
  until timestamptz;
begin
  if perch.catches_undone() then
    begin
      return perch.renew_lease(thread_id, token, duration);
    exception when serialization_failure then
      perform perch.fail_undone(sqlerrm);
    end;
  end if;
  perform perch.check_duration(renew_lease.duration);
  select l.expires_at into until
    from perch.thread_leases l
   where l.tenant_id = tenant and l.thread_id = renew_lease.thread_id
     and l.token = renew_lease.token and l.holder is not null
     for no key update;
  if not found then
    perform perch.fail('PE409', 'the lease on this thread is no longer yours',
      jsonb_build_object('thread_id', renew_lease.thread_id, 'token', renew_lease.token),
      'Stop writing to the thread; take the lease again with perch.acquire_lease, and read the head before going on.');
  end if;
  -- Once it had expired others could write without a token.
  if until <= clock_timestamp() then
    perform perch.lock_thread_rows(tenant, renew_lease.thread_id);
  end if;
  update perch.thread_leases l
     set expires_at = clock_timestamp() + renew_lease.duration
   where l.tenant_id = tenant and l.thread_id = renew_lease.thread_id
  returning l.expires_at into until;
  return until;
end
$$;
grant execute on function perch.renew_lease to perch_app;

comment on function perch.renew_lease(text, bigint, interval) is
  'Prolongs a lease from now; returns when it will expire. One that has expired can be renewed while nobody else has taken it. Errors: PE401, PE409 when somebody has, or it was released, PE422.';
