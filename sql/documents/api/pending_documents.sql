-- Bounded, however long the backlog. Where the oldest items are so many that they are a window on it, they may all be
-- of a few documents, which somebody works on already or nobody can merge: so that these hide no other, documents are
-- then found by their keys as well. These are two scans that go from one document to the next by the primary key, over
-- all of its items at once.
create or replace function perch.pending_documents(max_count integer default 100)
returns table (space_id text, app_id text, table_name text, record_id text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with recursive
  pushed as materialized (
    select x.space_id, x.app_id, x.table_name, x.record_id, x.created_at as since from perch.document_inbox x
     where x.status = 'pending' order by x.created_at limit 5000
  ),
  written as materialized (
    select w.space_id, w.app_id, w.table_name, w.record_id, w.written_at as since from perch.column_writes w
     where w.placed is null order by w.ordinal limit 5000
  ),
  pushed_to as (
    (select x.space_id, x.app_id, x.table_name, x.record_id, x.created_at as since from perch.document_inbox x
      where x.status = 'pending' and (select count(*) from pushed) = 5000
      order by x.space_id, x.app_id, x.table_name, x.record_id limit 1)
    union all
    select n.* from pushed_to d cross join lateral (
      select x.space_id, x.app_id, x.table_name, x.record_id, x.created_at from perch.document_inbox x
       where (x.space_id, x.app_id, x.table_name, x.record_id) > (d.space_id, d.app_id, d.table_name, d.record_id)
         and x.status = 'pending'
       order by x.space_id, x.app_id, x.table_name, x.record_id limit 1) n
  ),
  written_to as (
    (select w.space_id, w.app_id, w.table_name, w.record_id, w.written_at as since from perch.column_writes w
      where w.placed is null and (select count(*) from written) = 5000
      order by w.space_id, w.app_id, w.table_name, w.record_id limit 1)
    union all
    select n.* from written_to d cross join lateral (
      select w.space_id, w.app_id, w.table_name, w.record_id, w.written_at from perch.column_writes w
       where (w.space_id, w.app_id, w.table_name, w.record_id) > (d.space_id, d.app_id, d.table_name, d.record_id)
         and w.placed is null
       order by w.space_id, w.app_id, w.table_name, w.record_id limit 1) n
  )
  -- The oldest first, so that nobody starves.
  select i.space_id, i.app_id, i.table_name, i.record_id
    from (table pushed union all table written
          union all (select * from pushed_to limit 500) union all (select * from written_to limit 500)) i
   group by i.space_id, i.app_id, i.table_name, i.record_id
   order by min(i.since)
   limit max_count
$$;
grant execute on function perch.pending_documents to perch_worker;

comment on function perch.pending_documents(integer) is
  'For perch_worker: the documents with updates or patches, or plain writes to their columns, that are not merged yet, the longest waiting first. However many items a document has, it hides no other.';
