create or replace function perch.delete_thread(thread_id text, fencing_token bigint default null)
returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  tenant constant text := perch.require_tenant();
  lease perch.thread_leases;
  numbers bigint[];
  deleted bigint;
begin
  if perch.catches_undone() then
    begin
      return perch.delete_thread(thread_id, fencing_token);
    exception when serialization_failure then
      perform perch.fail_undone(sqlerrm);
    end;
  end if;
  -- In the order in which others take them: the lease, then the thread and its namespaces. Whoever is putting is waited
  -- for; whoever comes later starts a new thread.
  select x.* into lease
    from perch.thread_leases x
   where x.tenant_id = tenant and x.thread_id = delete_thread.thread_id
     for update;
  if delete_thread.fencing_token is not null then
    perform perch.require_lease(tenant, delete_thread.thread_id, delete_thread.fencing_token);
  end if;
  perform perch.lock_thread_rows(tenant, delete_thread.thread_id);
  if delete_thread.fencing_token is null then
    perform perch.require_no_lease(tenant, delete_thread.thread_id);
  end if;
  -- Not one that somebody has taken since, on a thread that had none.
  delete from perch.thread_leases x
   where x.tenant_id = tenant and x.thread_id = delete_thread.thread_id and x.token = lease.token;
  with gone as (
    delete from perch.threads t where t.tenant_id = tenant and t.thread_id = delete_thread.thread_id
      returning t.thread_no
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
grant execute on function perch.delete_thread to perch_app;

comment on function perch.delete_thread(text, bigint) is
  'Deletes a thread of the current tenant: its checkpoints, its log and its lease. Returns how many checkpoints there were; 0 when there is no such thread. fencing_token as in perch.put_checkpoint: while somebody has a lease, only with its token. Errors: PE401, PE409 for a lease.';
