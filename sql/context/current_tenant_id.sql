create or replace function perch.current_tenant_id()
returns text
language sql stable parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select nullif(current_setting('app.current_tenant_id', true), '')
$$;

comment on function perch.current_tenant_id() is
  'The tenant named for this transaction (setting app.current_tenant_id), or null.';
