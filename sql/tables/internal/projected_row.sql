create or replace function perch.projected_row(app_id text, table_name text, record_id text)
returns text
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
return jsonb_build_array(app_id, table_name, record_id)::text;

comment on function perch.projected_row(text, text, text) is
  'Private. What the setting perch.projecting has, behind the depth of the trigger, while the document of this row is written to its columns.';
