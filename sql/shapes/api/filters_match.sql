-- Many filters in one statement, for the price of one look at each row. Filters that may fail are not tried (one
-- would be the fault of all), nor are rules: what is told as true is only worth a look. It reads nothing but what it
-- is given.
create or replace function perch.filters_match(schema_name text, table_name text, images jsonb[], filters jsonb[])
returns boolean[]
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO, MDY'
set intervalstyle = 'iso_8601'
set bytea_output = 'hex'
set extra_float_digits = 1
as $$
declare
  synced constant perch.synced_relations := perch.open_relation(filters_match.schema_name, filters_match.table_name);
  columns constant jsonb := perch.shape_columns(synced, '{}');
  tests text;
  matches boolean[];
begin
  if cardinality(filters) = 0 then
    return '{}';
  end if;
  tests := (
    select string_agg(case when perch.never_fails(f.filter, columns)
             then format('coalesce(bool_or(%s), false)', perch.filter_text(f.filter, columns)) else 'true' end, ', '
             order by f.nth)
      from unnest(filters) with ordinality f (filter, nth));
  execute format('select array[%s] from unnest($1) i cross join lateral %s', tests,
    perch.image_row(synced.relation, 'i', tests))
    into matches using images;
  return matches;
end
$$;
grant execute on function perch.filters_match to perch_worker;

comment on function perch.filters_match(text, text, jsonb[], jsonb[]) is
  'For perch_worker: of each of these filters (trees) whether it may be true of any of these rows of a synced table, which are given as JSON. Errors: PE404, PE422. Example: select perch.filters_match(schema_name => ''public'', table_name => ''orders'', images => ''{}'', filters => ''{}'');';
