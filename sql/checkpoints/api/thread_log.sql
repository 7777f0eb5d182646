create or replace function perch.thread_log(thread_id text)
returns table (last_number bigint, archived_until bigint)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
rows 1
as $$
declare
  tenant constant text := perch.require_tenant();
begin
  return query
    select coalesce(l.last_number, 0), coalesce(l.archived_until, 0)
      from (values (true)) as one_row
      left join perch.thread_logs l on l.tenant_id = tenant and l.thread_id = thread_log.thread_id;
end
$$;
grant execute on function perch.thread_log to perch_app;

comment on function perch.thread_log(text) is
  'How far the log of a thread of the current tenant has been written and archived; zeros when nothing was ever appended. Errors: PE401.';
