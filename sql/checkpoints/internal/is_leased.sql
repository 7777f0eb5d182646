create or replace function perch.is_leased(tenant_id text, thread_id text)
returns boolean
language sql volatile
set search_path = pg_catalog, pg_temp
as $$
  select exists (
    select from perch.thread_leases l
     where l.tenant_id = is_leased.tenant_id and l.thread_id = is_leased.thread_id
       and l.holder is not null and l.expires_at > clock_timestamp())
$$;

comment on function perch.is_leased(text, text) is
  'Private. Whether somebody has a lease on a thread that has not expired.';
