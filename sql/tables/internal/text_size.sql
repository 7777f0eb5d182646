-- Of few bytes: a number as text has at most 147,456 characters, and takes 12 bytes at least. So what has few is
-- measured by making the text. In what has more the numbers are looked at first: 80 kB of them may be more text than
-- Postgres can make (1 GB), after seconds. Then it is told by the numbers alone, and may be several times too much.
--
-- '{}' || data: without compression.
create or replace function perch.text_size(data jsonb)
returns integer
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  digits bigint;
begin
  if pg_column_size('{}'::jsonb || data) <= 4000 then
    return octet_length(data::text);
  end if;
  select sum(scale(n.value) + case when n.value < 1e20 then 20 when n.value < 1e309 then 309
             when n.value < 1e2000 then 2000 when n.value < 1e16000 then 16000 else 131072 end) into digits
    from (
      select abs(v::numeric) as value
        from jsonb_path_query(data, 'strict $.** ? (@.type() == "number")') v offset 0) n;
  if digits > 16000000 then
    return least(digits, 2147483647);
  end if;
  return octet_length(data::text);
exception when program_limit_exceeded then
  -- Characters that are written as escapes.
  return 1073741824;
end
$$;

comment on function perch.text_size(jsonb) is
  'Private. How many bytes an object, or null, has as text; more than that where it has tens of millions, most of them of numbers.';
