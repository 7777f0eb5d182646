create or replace function perch.get_checkpoint(thread_id text, id uuid)
returns setof perch.checkpoints
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
rows 1
as $$
declare
  tenant constant text := perch.require_tenant();
begin
  return query select * from perch.find_checkpoint(tenant, get_checkpoint.thread_id, get_checkpoint.id);
end
$$;
grant execute on function perch.get_checkpoint to perch_app;

comment on function perch.get_checkpoint(text, uuid) is
  'A checkpoint of a thread of the current tenant, by its id. No row when this thread has none with that id, whatever others have. Errors: PE401.';
