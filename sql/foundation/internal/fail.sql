create or replace function perch.fail(code text, message text, detail jsonb default null, hint text default null)
returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  remedy constant text := coalesce(fail.hint, perch.hint_for(code, fail.detail));
begin
  if remedy is null then
    raise exception using errcode = code, message = format('%s: %s', perch.error_word(code), fail.message),
      detail = coalesce(fail.detail::text, '{}');
  end if;
  raise exception using errcode = code, message = format('%s: %s', perch.error_word(code), fail.message),
    detail = coalesce(fail.detail::text, '{}'), hint = remedy;
end
$$;
grant execute on function perch.fail to perch_worker;

comment on function perch.fail(text, text, jsonb, text) is
  'Private. Raises an error of perch: SQLSTATE code, message that starts with the code''s word, DETAIL as JSON, HINT; without one, what DETAIL says of what to do.';
