create or replace function perch.is_row_document(space_id text, app_id text, table_name text, record_id text)
returns boolean
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  return exists (
    select from perch.row_documents d
     where d.space_id = is_row_document.space_id and d.app_id = is_row_document.app_id
       and d.table_name = is_row_document.table_name and d.record_id = is_row_document.record_id);
end
$$;
grant execute on function perch.is_row_document to perch_worker;

comment on function perch.is_row_document(text, text, text, text) is
  'Private. Whether the columns of a row of a synced table have become a document. Sees what was committed until now.';
