-- For a write without a fencing token, after it has locked the thread. Why no lease can begin under such a write:
-- whoever takes one has the row of the lease first, and then waits for the rows of the thread (perch.lock_thread_rows).
-- Either that comes first: then the write waits for the thread, looks here when it has it, and sees the lease; or the
-- write does, and the lease begins when the write is committed. In a thread that is only being made they meet on the
-- row of the lease (perch.make_thread makes it). Nothing is locked here, so writers among themselves pay no more than a
-- look.
create or replace function perch.require_no_lease(tenant_id text, thread_id text)
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
  lease perch.thread_leases;
begin
  select l.* into lease
    from perch.thread_leases l
   where l.tenant_id = require_no_lease.tenant_id and l.thread_id = require_no_lease.thread_id
     and l.holder is not null and l.expires_at > clock_timestamp();
  if found then
    perform perch.fail('PE409', 'somebody has the lease on this thread',
      jsonb_build_object('thread_id', require_no_lease.thread_id, 'holder', lease.holder, 'expires_at',
        lease.expires_at),
      'Pass the fencing_token of the lease, or wait until it is released or has expired.');
  end if;
end
$$;

comment on function perch.require_no_lease(text, text) is
  'Private. PE409 while somebody has a lease on a thread that has not expired.';
