-- Whoever puts a checkpoint or a write comes here only when there is no such thread yet: one that is there has usable
-- ids.
create or replace function perch.make_thread(tenant_id text, thread_id text, namespace text, format text)
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  perform perch.set_tenant(make_thread.tenant_id);
  perform perch.check_id(make_thread.thread_id, 'thread_id');
  if make_thread.namespace is null or make_thread.namespace <> '' then
    perform perch.check_id(make_thread.namespace, 'namespace', 1024);
  end if;
  perform perch.make_lease(make_thread.tenant_id, make_thread.thread_id);
  insert into perch.threads (tenant_id, thread_id, namespace, format, thread_no)
  values (make_thread.tenant_id, make_thread.thread_id, make_thread.namespace, make_thread.format,
          ('x' || right(replace(gen_random_uuid()::text, '-', ''), 15))::bit(60)::bigint)
  -- Whatever it was that is there already, the thread or the number: the caller looks again.
  on conflict do nothing;
end
$$;

comment on function perch.make_thread(text, text, text, text) is
  'Private. Makes the row of a thread, unless somebody has. Errors: PE401, PE413, PE422 for ids that are of no use.';
