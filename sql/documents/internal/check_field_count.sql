create or replace function perch.check_field_count(table_name text, fields jsonb)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  max_fields constant bigint := perch.setting('max_fields', 1000);
  got bigint;
begin
  select count(*) into got from jsonb_object_keys(check_field_count.fields);
  if got > max_fields then
    perform perch.fail('PE413', format('table %s would have %s fields, more than %s', check_field_count.table_name, got,
      max_fields),
      jsonb_build_object('limit', 'max_fields', 'max', max_fields, 'got', got, 'table', check_field_count.table_name));
  end if;
end
$$;

comment on function perch.check_field_count(text, jsonb) is
  'Private. PE413 when a table would have more fields than max_fields.';
