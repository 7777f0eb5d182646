-- Lock order: the row of the document, then what hangs on it, as perch.adopt_row, which does the same when the row is
-- there again.
create or replace function perch.end_row_document(
  space_id text, app_id text, table_name text, record_id text, ordinal bigint
)
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  deleted_by text;
begin
  perform from perch.documents d
    where d.space_id = end_row_document.space_id and d.app_id = end_row_document.app_id
      and d.table_name = end_row_document.table_name and d.record_id = end_row_document.record_id
      for update;
  select w.user_id into deleted_by from perch.column_writes w
   where w.space_id = end_row_document.space_id and w.app_id = end_row_document.app_id
     and w.table_name = end_row_document.table_name and w.record_id = end_row_document.record_id
     and w.ordinal = end_row_document.ordinal and w.patch is null
     for update;
  if not found then
    return;
  end if;
  perform perch.end_document(end_row_document.space_id, end_row_document.app_id, end_row_document.table_name,
    end_row_document.record_id, deleted_by);
  delete from perch.row_documents d
   where d.space_id = end_row_document.space_id and d.app_id = end_row_document.app_id
     and d.table_name = end_row_document.table_name and d.record_id = end_row_document.record_id;
  delete from perch.column_writes w
   where w.space_id = end_row_document.space_id and w.app_id = end_row_document.app_id
     and w.table_name = end_row_document.table_name and w.record_id = end_row_document.record_id
     and w.ordinal <= end_row_document.ordinal;
end
$$;
grant execute on function perch.end_row_document to perch_worker;

comment on function perch.end_row_document(text, text, text, text, bigint) is
  'For perch_worker: ends the document of a row that was deleted, as claimed by perch.claim_column_writes.';
