create or replace function perch.due_projections(max_count integer default 100)
returns table (space_id text, app_id text, table_name text, record_id text, due_at timestamptz)
language sql volatile
set search_path = pg_catalog, pg_temp
as $$
  select q.space_id, q.app_id, q.table_name, q.record_id, q.due_at
    from perch.document_queue q
   where q.due_at <= clock_timestamp()
   order by q.due_at
   limit max_count
     for update skip locked
$$;

comment on function perch.due_projections(integer) is
  'For perch_worker: the documents whose record is due to show their latest position. In a transaction they are this worker''s until its end.';
