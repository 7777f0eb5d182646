create or replace function perch.table_kind(app_id text, table_name text)
returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select case
    when exists (select from perch.synced_relations r
                  where r.app_id = table_kind.app_id and r.table_name = table_kind.table_name) then 'synced'
    when exists (select from perch.document_tables d
                  where d.app_id = table_kind.app_id and d.table_name = table_kind.table_name) then 'documents'
    when exists (select from perch.encrypted_tables e
                  where e.app_id = table_kind.app_id and e.table_name = table_kind.table_name) then 'encrypted'
    else 'records' end
$$;
grant execute on function perch.table_kind to perch_worker;

comment on function perch.table_kind(text, text) is
  'Private. What a table of an app holds: synced (rows of a table of the app''s own), documents, encrypted, or records.';
