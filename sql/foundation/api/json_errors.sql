create or replace function perch.json_errors(texts text[])
returns table (state text)
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
  select perch.json_error(t.value) from unnest(texts) with ordinality t (value, nth) order by t.nth
$$;
grant execute on function perch.json_errors to perch_app;

comment on function perch.json_errors(text[]) is
  'Whether Postgres can read these texts as JSON, a row for each, in their order: null, or the SQLSTATE with which it refuses (22P05: the character NUL; 22P02: half of a surrogate pair, or no JSON; 22003: a number that is too large; 54001: nested too deeply). For programs that say what of a text is at fault. Example: select state from perch.json_errors(texts => array[''"\u0000"'']);';
