-- Lock order: the document, then what hangs on it (docs/architecture.md, "The order of locks").
create or replace function perch.end_document(
  space_id text, app_id text, table_name text, record_id text, deleted_by text
)
returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  version jsonb;
  ended bigint;
begin
  -- From here nobody appends: what version names is all there was.
  perform from perch.documents d
    where d.space_id = end_document.space_id and d.app_id = end_document.app_id
      and d.table_name = end_document.table_name and d.record_id = end_document.record_id
      for update;
  version := perch.document_version(end_document.space_id, end_document.app_id, end_document.table_name,
    end_document.record_id);
  delete from perch.documents d
   where d.space_id = end_document.space_id and d.app_id = end_document.app_id
     and d.table_name = end_document.table_name and d.record_id = end_document.record_id
  returning d.head_seq + 1 into ended;
  if ended is null then
    return null;
  end if;
  insert into perch.document_tombstones as t (space_id, app_id, table_name, record_id, seq, version, deleted_by)
  values (end_document.space_id, end_document.app_id, end_document.table_name, end_document.record_id, ended,
          version, end_document.deleted_by)
  on conflict on constraint document_tombstones_pkey do update
    set seq = excluded.seq, version = perch.merge_ends(t.version, excluded.version), deleted_by = excluded.deleted_by,
      deleted_at = clock_timestamp();
  delete from perch.document_snapshots x
   where x.space_id = end_document.space_id and x.app_id = end_document.app_id
     and x.table_name = end_document.table_name and x.record_id = end_document.record_id;
  delete from perch.document_updates x
   where x.space_id = end_document.space_id and x.app_id = end_document.app_id
     and x.table_name = end_document.table_name and x.record_id = end_document.record_id;
  delete from perch.document_history x
   where x.space_id = end_document.space_id and x.app_id = end_document.app_id
     and x.table_name = end_document.table_name and x.record_id = end_document.record_id;
  delete from perch.document_inbox x
   where x.space_id = end_document.space_id and x.app_id = end_document.app_id
     and x.table_name = end_document.table_name and x.record_id = end_document.record_id;
  delete from perch.document_queue x
   where x.space_id = end_document.space_id and x.app_id = end_document.app_id
     and x.table_name = end_document.table_name and x.record_id = end_document.record_id;
  perform pg_notify('perch_documents', perch.document_notification(
    end_document.space_id, end_document.app_id, end_document.table_name, end_document.record_id, ended));
  return ended;
end
$$;
grant execute on function perch.end_document to perch_worker;

comment on function perch.end_document(text, text, text, text, text) is
  'Private. Ends the incarnation of a document: its snapshot, its updates and what is pending of it go; what it had in it is noted, so that nobody brings it back. Returns the position behind its last; null when there is none.';
