create or replace function perch.latest_checkpoint(thread_id text)
returns setof perch.checkpoints
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
rows 1
as $$
declare
  tenant constant text := perch.require_tenant();
begin
  return query
    select c.* from perch.checkpoints c
     where c.tenant_id = tenant and c.thread_id = latest_checkpoint.thread_id and c.namespace = ''
       and c.id = (select t.head_id from perch.threads t
                    where t.tenant_id = tenant and t.thread_id = latest_checkpoint.thread_id and t.namespace = '');
end
$$;

comment on function perch.latest_checkpoint(text) is
  'The head of a thread of the current tenant: the checkpoint that was committed last, on whatever branch. No row when there is no such thread. Errors: PE401. Example: select state from perch.latest_checkpoint(thread_id => ''run-1'');';
