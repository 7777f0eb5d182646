-- Of numbers jsonb takes 131,072 digits before the point and 16,383 behind it, which are a few bytes as they are sent
-- (1e131071) and as they are stored, and fill the memory of whoever reads them as text.
create or replace function perch.check_numbers(value jsonb, content text, what text)
returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  number text;
begin
  if not perch.may_have_long_number(content) then
    return;
  end if;
  select left(n::text, 20) into number
    from jsonb_path_query(value, '$.** ? (@.type() == "number")') n
   where n > '1.8e308' or n < '-1.8e308' or octet_length(n::text) > 1002
   limit 1;
  if number is not null then
    perform perch.fail('PE422', format('%s has a number that programs do not exchange', what),
      jsonb_build_object('argument', what, 'expected', 'numbers up to 1.8e308 of at most 1,000 digits', 'got',
        number || '…'),
      'Send it as a string.');
  end if;
end
$$;

comment on function perch.check_numbers(jsonb, text, text) is
  'Private. PE422 for JSON with a number beyond 1.8e308, or with more than 1,000 digits once it is written out. content: the value as text, which the caller has made to bound it; what: how the value is called in the error.';
