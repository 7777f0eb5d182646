-- plpgsql keeps the plan from call to call, and every policy of a tenant's table calls this once a statement.
create or replace function perch.current_tenant_id()
returns text
language plpgsql stable parallel safe
set search_path = pg_catalog, pg_temp
as $$
begin
  return nullif(current_setting('app.current_tenant_id', true), '');
end
$$;
grant execute on function perch.current_tenant_id to perch_app, perch_worker;

comment on function perch.current_tenant_id() is
  'The tenant named for this transaction (setting app.current_tenant_id), or null.';
