create or replace function perch.order_text("order" jsonb, columns jsonb)
returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  item jsonb;
  items text[] := '{}';
begin
  if jsonb_typeof("order") <> 'array' or jsonb_array_length("order") not between 1 and 100 then
    perform perch.fail('PE422', 'the order is no list of 1 to 100 columns', jsonb_build_object('argument', 'order_by'),
      'For example: order_by=created_at desc, id');
  end if;
  for item in select i from jsonb_array_elements("order") i loop
    if (columns ? (item ->> 'column')) is not true then
      perform perch.fail('PE422', format('there is no column %I to order by', item ->> 'column'),
        jsonb_build_object('argument', 'order_by'),
        'Order by columns that the shape has.');
    end if;
    items := items || format('perch_row.%I%s%s', item ->> 'column', case when (item ->> 'descending')::boolean
      then ' desc' end, case item ->> 'nulls' when 'first' then ' nulls first' when 'last' then ' nulls last' end);
  end loop;
  return array_to_string(items, ', ');
end
$$;

comment on function perch.order_text(jsonb, jsonb) is
  'Private. What stands behind ORDER BY, made of a list of columns: [{"column", "descending", "nulls"}].';
