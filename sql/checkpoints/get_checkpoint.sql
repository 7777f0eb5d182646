create or replace function perch.get_checkpoint(thread_id text, id uuid)
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
     where c.tenant_id = tenant and c.thread_id = get_checkpoint.thread_id and c.namespace = '' and c.id = get_checkpoint.id;
end
$$;

comment on function perch.get_checkpoint(text, uuid) is
  'A checkpoint of a thread of the current tenant, by its id. No row when this thread has none with that id, whatever others have. Errors: PE401.';
