create or replace function perch.delete_thread(thread_id text)
returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  tenant constant text := perch.require_tenant();
  numbers bigint[];
  deleted bigint;
begin
  -- In the order in which others take them: the lease, then the thread and its namespaces. Whoever is putting is waited for;
  -- whoever comes later starts a new thread.
  delete from perch.thread_leases x where x.tenant_id = tenant and x.thread_id = delete_thread.thread_id;
  perform from perch.threads t
    where t.tenant_id = tenant and t.thread_id = delete_thread.thread_id order by t.namespace for update;
  with gone as (
    delete from perch.threads t where t.tenant_id = tenant and t.thread_id = delete_thread.thread_id returning t.thread_no
  )
  select coalesce(array_agg(g.thread_no), '{}') into numbers from gone g;

  delete from perch.checkpoint_writes x where x.tenant_id = tenant and x.thread_no = any (numbers);
  delete from perch.checkpoint_values x where x.tenant_id = tenant and x.thread_no = any (numbers);
  delete from perch.checkpoint_pieces x where x.tenant_id = tenant and x.thread_no = any (numbers);
  delete from perch.stored_checkpoints x where x.tenant_id = tenant and x.thread_no = any (numbers);
  get diagnostics deleted = row_count;

  delete from perch.thread_logs x where x.tenant_id = tenant and x.thread_id = delete_thread.thread_id;
  delete from perch.thread_events x where x.tenant_id = tenant and x.thread_id = delete_thread.thread_id;
  return deleted;
end
$$;

comment on function perch.delete_thread(text) is
  'Deletes a thread of the current tenant: its checkpoints, its log and its lease. Returns how many checkpoints there were; 0 when there is no such thread. Errors: PE401.';
