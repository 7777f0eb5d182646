create or replace function perch.is_apps_code(code text)
returns boolean
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
return code = 'P0001' or left(code, 2) <> all (
  '{00,01,02,03,08,09,0A,0B,0F,0L,0P,0Z,10,20,21,22,23,24,25,26,27,28,2B,2D,2F,34,38,39,3B,3D,3F,40,42,44,53,54,55,57,'
  '58,72,F0,HV,P0,PE,XX}');
grant execute on function perch.is_apps_code to perch_worker;

comment on function perch.is_apps_code(text) is
  'Private. Whether an SQLSTATE is one that neither Postgres nor perch uses: what an app raises, with words of its own.';
