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

comment on function perch.json_error(text) is
  'Whether Postgres can read this JSON: null, or the SQLSTATE with which it refuses (22P05: the character NUL; 22P02: half of a surrogate pair, or no JSON; 22003: a number that is too large; 54001: nested too deeply). For programs that say what of a text is at fault. Example: select perch.json_error(''"\u0000"'');';
