create or replace function perch.make_thread(tenant_id text, thread_id text, namespace text, format text)
returns void
language sql volatile
set search_path = pg_catalog, pg_temp
as $$
  insert into perch.threads (tenant_id, thread_id, namespace, format, thread_no)
  values (make_thread.tenant_id, make_thread.thread_id, make_thread.namespace, make_thread.format,
          ('x' || right(replace(gen_random_uuid()::text, '-', ''), 15))::bit(60)::bigint)
  -- Whatever it was that is there already, the thread or the number: the caller looks again.
  on conflict do nothing
$$;

comment on function perch.make_thread(text, text, text, text) is
  'Private. Makes the row of a thread, unless somebody has.';
