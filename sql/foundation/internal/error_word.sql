create or replace function perch.error_word(code text)
returns text
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select case code
    when 'PE401' then 'unauthenticated'
    when 'PE403' then 'forbidden'
    when 'PE404' then 'not_found'
    when 'PE409' then 'conflict'
    when 'PE410' then 'resync_required'
    when 'PE413' then 'too_large'
    when 'PE422' then 'invalid'
    else 'error'
  end
$$;
grant execute on function perch.error_word to perch_worker;

comment on function perch.error_word(text) is
  'Private. The word with which the message of an error of perch starts, by its SQLSTATE.';
