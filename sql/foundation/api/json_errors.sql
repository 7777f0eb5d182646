create or replace function perch.json_errors(texts text[])
returns table (state text)
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  one text;
  read jsonb;
begin
  foreach one in array texts loop
    state := null;
    begin
      read := one::jsonb;
    exception when data_exception or program_limit_exceeded then
      state := sqlstate;
    end;
    return next;
  end loop;
end
$$;
grant execute on function perch.json_errors to perch_app;

comment on function perch.json_errors(text[]) is
  'Whether Postgres can read these texts as JSON, a row for each, in their order: null, or the SQLSTATE with which it refuses (22P05: the character NUL; 22P02: half of a surrogate pair, or no JSON; 22003: a number that is too large; 54001: nested too deeply). For programs that say what of a text is at fault. Example: select state from perch.json_errors(texts => array[''"\u0000"'']);';
