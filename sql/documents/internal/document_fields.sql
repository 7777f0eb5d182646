create or replace function perch.document_fields(app_id text, table_name text)
returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  declared jsonb;
begin
  select t.fields into declared
    from perch.document_tables t
   where t.app_id = document_fields.app_id and t.table_name = document_fields.table_name;
  if declared is null then
    perform perch.fail('PE404', format('%s is not a document table of app %s', document_fields.table_name,
        document_fields.app_id),
      jsonb_build_object('app_id', document_fields.app_id, 'table', document_fields.table_name),
      'Check both names; a DBA declares such a table with perch.declare_table.');
  end if;
  return declared;
end
$$;
grant execute on function perch.document_fields to perch_worker;

comment on function perch.document_fields(text, text) is
  'Private. The declared kinds of a document table''s fields; PE404 when it is none.';
