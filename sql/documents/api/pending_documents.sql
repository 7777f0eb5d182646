create or replace function perch.pending_documents(max_count integer default 100)
returns table (space_id text, app_id text, table_name text, record_id text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  -- The oldest first, so that nobody starves; bounded, however long the backlog.
  select i.space_id, i.app_id, i.table_name, i.record_id
    from (
      (select x.space_id, x.app_id, x.table_name, x.record_id, x.created_at from perch.document_inbox x
        where x.status = 'pending' order by x.created_at limit 5000)
      union all
      (select w.space_id, w.app_id, w.table_name, w.record_id, w.written_at from perch.column_writes w
        where w.placed is null order by w.ordinal limit 5000)) i
   group by i.space_id, i.app_id, i.table_name, i.record_id
   order by min(i.created_at)
   limit max_count
$$;
grant execute on function perch.pending_documents to perch_worker;

comment on function perch.pending_documents(integer) is
  'For perch_worker: the documents with updates or patches, or plain writes to their columns, that are not merged yet, the longest waiting first.';
