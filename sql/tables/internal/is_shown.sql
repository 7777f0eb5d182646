-- Of a number that a document cannot hold to its last digit it has the nearest double, or, where that is an integer
-- beyond 2^53, digits as a text (docs/documents.md). A number of at most fifteen digits is the same in both.
create or replace function perch.is_shown(in_document jsonb, in_column jsonb)
returns boolean
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  number numeric;
  digits numeric;
begin
  if in_document = in_column then
    return true;
  elsif jsonb_typeof(in_column) not in ('number', 'array', 'object') or in_column::text !~ '[0-9][0-9.]{15}' then
    return false;
  end if;
  case jsonb_typeof(in_column)
    when 'number' then
      if in_document #>> '{}' !~ '^-?[0-9.]+$' or octet_length(in_document #>> '{}') > 400 then
        return false;
      end if;
      number := in_column;
      digits := in_document #>> '{}';
      -- Beyond these there is no double.
      return digits = number
        or abs(number) between 2.3e-308 and 1.7e308 and abs(digits) between 2.3e-308 and 1.7e308
           and digits::double precision = number::double precision;
    when 'array' then
      return jsonb_typeof(in_document) = 'array'
        and jsonb_array_length(in_document) = jsonb_array_length(in_column)
        and (select bool_and(perch.is_shown(d.value, c.value))
               from jsonb_array_elements(in_document) with ordinality d (value, place)
               join jsonb_array_elements(in_column) with ordinality c (value, place) using (place));
    when 'object' then
      return jsonb_typeof(in_document) = 'object'
        and (select bool_and(d.key is not null and c.key is not null and perch.is_shown(d.value, c.value))
               from jsonb_each(in_document) d full join jsonb_each(in_column) c using (key));
    else
      return false;
  end case;
end
$$;
grant execute on function perch.is_shown to perch_worker;

comment on function perch.is_shown(jsonb, jsonb) is
  'Private. Whether a column has what its document has of it, but for digits that a document cannot hold.';
