create or replace function perch.latest_checkpoint(thread_id text)
returns setof perch.checkpoints
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
rows 1
as $$
declare
  tenant constant text := perch.require_tenant();
  head uuid;
begin
  -- Stable, so that this and what follows see the same moment.
  select t.head_id into head
    from perch.threads t
   where t.tenant_id = tenant and t.thread_id = latest_checkpoint.thread_id and t.namespace = '';
  return query select * from perch.find_checkpoint(tenant, latest_checkpoint.thread_id, head);
end
$$;
grant execute on function perch.latest_checkpoint to perch_app;

comment on function perch.latest_checkpoint(text) is
  'The head of a thread of the current tenant: the checkpoint that was committed last, on whatever branch. No row when there is no such thread. Errors: PE401. Example: select state from perch.latest_checkpoint(thread_id => ''run-1'');';
