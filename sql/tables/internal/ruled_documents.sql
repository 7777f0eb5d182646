create or replace function perch.ruled_documents(app_id text, table_name text)
returns perch.synced_relations
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  found perch.synced_relations;
begin
  select r.* into found from perch.synced_relations r
   where r.app_id = ruled_documents.app_id and r.table_name = ruled_documents.table_name
     and r.documents <> '{}' and (r.row_filter is not null or r.column_roles <> '{}');
  return found;
end
$$;
grant execute on function perch.ruled_documents to perch_worker;

comment on function perch.ruled_documents(text, text) is
  'Private. The synced table of this name, where it has documents in columns as well as rules; else null.';
