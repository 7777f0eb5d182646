create or replace function perch.exported_changes()
returns table (line text, app_id text, space_id text, "table" text, id text, schema_version integer)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select case when not e.change ? 'withheld' then (jsonb_build_object('kind', 'change') || e.change)::text end,
         e.change ->> 'app_id', e.change ->> 'space_id', e.change ->> 'table', e.change ->> 'id',
         (e.change ->> 'schema_version')::integer
    from perch.export_changes() e (change)
    left join perch.document_tables t on t.app_id = e.change ->> 'app_id' and t.table_name = e.change ->> 'table'
   where t.app_id is null
$$;
grant execute on function perch.exported_changes to perch_app;

comment on function perch.exported_changes() is
  'Used by perch export: perch.export_changes but for those of documents, as lines of its file; line is null for what was too long to be read. Errors: PE401.';
