-- The lock keeps the lease from going to another holder until this transaction ends; its own holder may renew it
-- meanwhile, which changes no key. An expired lease that nobody took since is still the last one given, so what its
-- holder writes is in order.
create or replace function perch.require_lease(tenant_id text, thread_id text, token bigint)
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  lease perch.thread_leases;
begin
  select l.* into lease
    from perch.thread_leases l
   where l.tenant_id = require_lease.tenant_id and l.thread_id = require_lease.thread_id
     for key share;
  if lease.holder is null or lease.token <> require_lease.token then
    perform perch.fail('PE409', 'the lease on this thread is no longer yours',
      jsonb_build_object('thread_id', require_lease.thread_id, 'token', require_lease.token, 'current_token',
        lease.token),
      'Stop writing to the thread; take the lease again with perch.acquire_lease, and read the head before going on.');
  end if;
end
$$;

comment on function perch.require_lease(text, text, bigint) is
  'Private. PE409 unless token is of the lease given last on a thread; it stays so until the transaction ends.';
