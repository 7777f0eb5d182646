create or replace function perch.ruled_document_tables()
returns table (app_id text, table_name text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select r.app_id, r.table_name from perch.synced_relations r
   where r.documents <> '{}' and (r.row_filter is not null or r.column_roles <> '{}')
$$;
grant execute on function perch.ruled_document_tables to perch_worker;

comment on function perch.ruled_document_tables() is
  'Private. The synced tables that have documents in columns as well as rules: of their rooms is asked again who may be in them.';
