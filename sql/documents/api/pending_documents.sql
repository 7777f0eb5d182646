create or replace function perch.pending_documents(max_count integer default 100)
returns table (space_id text, app_id text, table_name text, record_id text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  -- The oldest first, so that nobody starves; bounded, however long the backlog.
  select i.space_id, i.app_id, i.table_name, i.record_id
    from (select * from perch.document_inbox where status = 'pending' order by created_at limit 5000) i
   group by i.space_id, i.app_id, i.table_name, i.record_id
   order by min(i.created_at)
   limit max_count
$$;
grant execute on function perch.pending_documents to perch_worker;

comment on function perch.pending_documents(integer) is
  'For perch_worker: the documents with updates or patches that are not merged yet, the longest waiting first.';
