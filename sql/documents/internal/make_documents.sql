-- Lock order: the keys of documents that are not there, by key, before the rows of others (docs/architecture.md, "The
-- order of locks"). Inserting a key waits for whoever is inserting it, holding only such keys, which sort before it: so
-- two calls cannot deadlock. Who waited finds the document made, and goes on behind what the other wrote.
--
-- Its positions go on behind those that it had before its last deletion (perch.document_tombstones).
create or replace function perch.make_documents(documents perch.tail_append[], of_rows boolean default false)
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  insert into perch.documents (space_id, app_id, table_name, record_id, created_by,
                               head_seq, merged_seq, projected_seq, snapshot_seq, tail_from, incarnation_seq)
  select e.space_id, e.app_id, e.table_name, e.record_id, e.created_by, x.ended, x.ended, x.ended, x.ended, x.ended,
    x.ended
    from unnest(make_documents.documents) e
    left join perch.document_tombstones t
      on t.space_id = e.space_id and t.app_id = e.app_id and t.table_name = e.table_name and t.record_id = e.record_id
   cross join lateral (select coalesce(t.seq, 0)) x (ended)
   where e.after_seq = x.ended and coalesce(e.after_revision, 0) = 0
     and (of_rows or (perch.document_relation(e.app_id, e.table_name)).relation is null)
     and not exists (
       select from perch.documents d
        where d.space_id = e.space_id and d.app_id = e.app_id and d.table_name = e.table_name
          and d.record_id = e.record_id)
   order by e.space_id, e.app_id, e.table_name, e.record_id
  on conflict on constraint documents_pkey do nothing;
end
$$;
grant execute on function perch.make_documents to perch_worker;

comment on function perch.make_documents(perch.tail_append[], boolean) is
  'Private. Makes those of the documents that are not there and were never anywhere beyond after_seq; perch.append_to_tail then goes on from it. Documents in columns of synced tables only when it is asked for (of_rows): they begin with their row (perch.adopt_row).';
