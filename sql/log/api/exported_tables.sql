create or replace function perch.exported_tables()
returns table (line text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select jsonb_build_object(
           'kind', 'document_table', 'app_id', t.app_id, 'table', t.table_name, 'fields', t.fields)::text
    from perch.document_tables t
   where (t.app_id, t.table_name) in (select d.app_id, d.table_name from perch.exported_documents() d)
   order by t.app_id, t.table_name
$$;
grant execute on function perch.exported_tables to perch_app;

comment on function perch.exported_tables() is
  'Used by perch export: the declarations of the tables whose documents it has, as lines of its file.';
