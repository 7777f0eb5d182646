-- Dear parts are counted, and how many there are at all, before any text is made.
create or replace function perch.filter_text(filter jsonb, columns jsonb, moment jsonb default null)
returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  dear bigint;
  all_of_it text;
begin
  if filter is null or filter = 'null' then
    return 'true';
  end if;
  if octet_length(filter::text) > 1000000 then
    perform perch.fail('PE413', 'the filter is over 1000000 bytes', jsonb_build_object('limit', 'filter_bytes', 'max',
      1000000));
  end if;
  select count(*) into dear
    from jsonb_path_query(filter, 'strict $.** ? (@.type() == "array"
      && (@[0] == "op" || @[0] == "call" || @[0] == "any" || @[0] == "all"))') n
   where n ->> 1 = any ('{*,/,%,^,~,~*,!~,!~*,power,mod,div,gcd,lcm,sqrt,regexp_like,similar_to_escape,substring}');
  if dear > 16 then
    perform perch.fail('PE422',
      'the filter has over 16 products, quotients and regular expressions (substring among them)',
      jsonb_build_object('limit', 'dear_operators', 'max', 16, 'got', dear));
  end if;
  if (select count(*) > 4 from perch.filter_selects(filter, true, true)) then
    perform perch.fail('PE422', 'the filter has over 4 sub-selects', jsonb_build_object('limit', 'sub_selects', 'max',
      4));
  end if;
  all_of_it := perch.filter_sql(filter, columns, 0, coalesce(moment, '{}') || '{"positive": true}');
  return format('(%s) is true', all_of_it);
end
$$;

comment on function perch.filter_text(jsonb, jsonb, jsonb) is
  'Private. A whole filter as text (perch.filter_sql), within its bounds: what is shown is what it is true of. No filter: true. moment: {"position", "snapshot"} of the rows in its sub-selects (null: now).';
