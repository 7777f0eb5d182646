-- A lease is a row with a time, not a lock that somebody's connection holds: it outlives no more than its time, whoever
-- dies.
create or replace function perch.acquire_lease(thread_id text, holder text, duration interval default '30 seconds')
returns setof perch.thread_leases
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
rows 1
as $$
declare
  tenant constant text := perch.require_tenant();
  lease perch.thread_leases;
begin
  if perch.catches_undone() then
    begin
      return query select * from perch.acquire_lease(thread_id, holder, duration);
      return;
    exception when serialization_failure then
      perform perch.fail_undone(sqlerrm);
    end;
  end if;
  perform perch.check_id(acquire_lease.thread_id, 'thread_id');
  perform perch.check_id(acquire_lease.holder, 'holder');
  perform perch.check_duration(acquire_lease.duration);
  loop
    -- Without a lock, so that whoever only asks does not wait for what the holder is putting.
    select l.* into lease
      from perch.thread_leases l
     where l.tenant_id = tenant and l.thread_id = acquire_lease.thread_id;
    if not found then
      perform perch.make_lease(tenant, acquire_lease.thread_id);
      continue;
    end if;
    if lease.holder <> acquire_lease.holder and lease.expires_at > clock_timestamp() then
      return;
    end if;

    -- Now one after another; this also waits for the puts in flight that demanded the token that ends here.
    select l.* into lease
      from perch.thread_leases l
     where l.tenant_id = tenant and l.thread_id = acquire_lease.thread_id
       for update;
    continue when not found;
    if lease.holder <> acquire_lease.holder and lease.expires_at > clock_timestamp() then
      return;
    end if;
    -- And for the writes in flight that have no token: see perch.require_no_lease.
    perform perch.lock_thread_rows(tenant, acquire_lease.thread_id);
    return query
      update perch.thread_leases l
         set holder = acquire_lease.holder, token = perch.next_token(l.token),
             expires_at = clock_timestamp() + acquire_lease.duration
       where l.tenant_id = tenant and l.thread_id = acquire_lease.thread_id
      returning l.*;
    return;
  end loop;
end
$$;
grant execute on function perch.acquire_lease to perch_app;

comment on function perch.acquire_lease(text, text, interval) is
  'Makes holder the only one who works on a thread of the current tenant, for a time that perch.renew_lease prolongs. Returns the lease with its fencing token; no row while somebody else has one that has not expired. The same holder again gets a new token, and its earlier one ends. Until it is released or expires, nothing changes the thread but calls that pass the token (events can be appended to its log). It waits for those that are changing it. The thread need not have a checkpoint. Errors: PE401, PE422. Example: select token, expires_at from perch.acquire_lease(thread_id => ''run-1'', holder => ''worker-7'', duration => ''1 minute'');';
