-- From here until commit nobody else puts a checkpoint into the thread: what is read of its head holds, and the head is
-- the checkpoint committed last. The lock leaves room for perch.put_writes, which only needs the row to stay.
create or replace function perch.lock_thread(tenant_id text, thread_id text, namespace text, format text)
returns perch.threads
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  thread perch.threads;
begin
  loop
    select t.* into thread
      from perch.threads t
     where t.tenant_id = lock_thread.tenant_id and t.thread_id = lock_thread.thread_id
       and t.namespace = lock_thread.namespace
       for no key update;
    exit when found;
    perform perch.make_thread(lock_thread.tenant_id, lock_thread.thread_id, lock_thread.namespace, lock_thread.format);
  end loop;
  perform perch.check_format(lock_thread.thread_id, thread.format, lock_thread.format);
  return thread;
end
$$;

comment on function perch.lock_thread(text, text, text, text) is
  'Private. The row of a thread, made when it is not there, locked against other puts and deletion until commit. Errors: PE422 when the thread is of another format.';
