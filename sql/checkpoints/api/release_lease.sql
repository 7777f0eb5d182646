create or replace function perch.release_lease(thread_id text, token bigint)
returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  tenant constant text := perch.require_tenant();
begin
  if perch.catches_undone() then
    begin
      return perch.release_lease(thread_id, token);
    exception when serialization_failure then
      perform perch.fail_undone(sqlerrm);
    end;
  end if;
  -- The row stays, and with it the token: the next one is greater.
  update perch.thread_leases l
     set holder = null, expires_at = clock_timestamp()
   where l.tenant_id = tenant and l.thread_id = release_lease.thread_id and l.token = release_lease.token
     and l.holder is not null;
  return found;
end
$$;
grant execute on function perch.release_lease to perch_app;

comment on function perch.release_lease(text, bigint) is
  'Ends a lease before its time; its token is refused from then on. Returns whether it was still there. Errors: PE401.';
