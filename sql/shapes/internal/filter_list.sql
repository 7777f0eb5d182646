create or replace function perch.filter_list(nodes jsonb, columns jsonb, depth integer, context jsonb)
returns text[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  if jsonb_typeof(nodes) is distinct from 'array' or jsonb_array_length(nodes) not between 1 and 10000 then
    perform perch.fail('PE422', 'the filter has a list that is none, is empty, or has over 10000 items',
      jsonb_build_object('limit', 'filter_items', 'max', 10000));
  end if;
  return (
    select array_agg(perch.filter_sql(n.value, columns, depth, context) order by n.nth)
      from jsonb_array_elements(nodes) with ordinality n (value, nth));
end
$$;

comment on function perch.filter_list(jsonb, jsonb, integer, jsonb) is
  'Private. The texts of several nodes of a filter, for perch.filter_sql.';
