-- Waits for those who are writing into the thread, and keeps others from beginning until commit. In the order of
-- namespaces, as everybody takes them.
create or replace function perch.lock_thread_rows(tenant_id text, thread_id text)
returns bigint[]
language sql volatile
set search_path = pg_catalog, pg_temp
as $$
  select array_agg(l.thread_no)
    from (select t.thread_no from perch.threads t
           where t.tenant_id = lock_thread_rows.tenant_id and t.thread_id = lock_thread_rows.thread_id
           order by t.namespace
             for update) l
$$;

comment on function perch.lock_thread_rows(text, text) is
  'Private. Locks the rows of a thread and its namespaces against everybody; returns their numbers.';
