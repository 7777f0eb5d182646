-- So that whoever takes a lease and whoever writes without one meet on a row, also when both are the first in a thread.
-- Looked for first: an insert would wait for whoever is changing the row, and the caller may hold what that one is
-- waiting for.
create or replace function perch.make_lease(tenant_id text, thread_id text)
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
begin
  perform from perch.thread_leases l where l.tenant_id = make_lease.tenant_id and l.thread_id = make_lease.thread_id;
  if not found then
    insert into perch.thread_leases (tenant_id, thread_id, holder, token, expires_at)
    values (make_lease.tenant_id, make_lease.thread_id, null, perch.next_token(0), clock_timestamp())
    on conflict on constraint thread_leases_pkey do nothing;
  end if;
end
$$;

comment on function perch.make_lease(text, text) is
  'Private. Makes the row of a thread''s lease, which nobody holds, unless there is one.';
