create or replace function perch.require_tenant()
returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  if nullif(current_setting('app.current_tenant_id', true), '') is null then
    perform perch.fail('PE401', 'no tenant is named in this transaction',
      hint => 'Call perch.set_tenant(tenant_id => …) first, in the same transaction.');
  end if;
  return current_setting('app.current_tenant_id', true);
end
$$;

comment on function perch.require_tenant() is
  'Private. The current tenant; PE401 when none is named.';
