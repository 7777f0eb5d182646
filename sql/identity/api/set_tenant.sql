create or replace function perch.set_tenant(tenant_id text)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if coalesce(set_tenant.tenant_id, '') = '' then
    perform perch.fail('PE401', 'the tenant is empty',
      hint => 'Pass the id of the tenant whose checkpoints are meant.');
  end if;
  perform perch.check_id(set_tenant.tenant_id, 'tenant_id');
  perform set_config('app.current_tenant_id', set_tenant.tenant_id, true);
end
$$;
grant execute on function perch.set_tenant to perch_app;

comment on function perch.set_tenant(text) is
  'Names the tenant of checkpoints for the rest of the transaction. Empty: PE401.';
