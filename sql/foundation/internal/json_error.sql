create or replace function perch.json_error(value text)
returns text
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  read jsonb;
begin
  read := value::jsonb;
  return null;
exception when data_exception or program_limit_exceeded then
  return sqlstate;
end
$$;
grant execute on function perch.json_error to perch_app;

comment on function perch.json_error(text) is
  'Private. Whether Postgres can read this JSON: null, or the SQLSTATE with which it refuses.';
