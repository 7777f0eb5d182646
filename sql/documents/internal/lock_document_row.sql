-- Lock order: the row of a document (docs/architecture.md, "The order of locks").
create or replace function perch.lock_document_row(key perch.tail_append)
returns perch.documents
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  document perch.documents;
begin
  select d.* into document from perch.documents d
   where d.space_id = key.space_id and d.app_id = key.app_id
     and d.table_name = key.table_name and d.record_id = key.record_id
     for no key update;
  return document;
end
$$;
grant execute on function perch.lock_document_row to perch_worker;

comment on function perch.lock_document_row(perch.tail_append) is
  'Private. The row of a document, locked until the end of the transaction as by whoever appends to it; all null when there is none.';
