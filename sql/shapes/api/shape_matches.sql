-- With the rights of whoever calls: perch_worker sees the log of all.
create or replace function perch.shape_matches(
  schema_name text, relation_name text, app_id text, table_name text, after_position bigint, upto bigint,
  filters jsonb[]
)
returns boolean[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  images constant jsonb[] := perch.images_between(app_id, table_name, after_position, upto);
begin
  if images is null then
    return array_fill(true, array[cardinality(filters)]);
  end if;
  return perch.filters_match(schema_name, relation_name, images, filters);
end
$$;
grant execute on function perch.shape_matches to perch_worker;

comment on function perch.shape_matches(text, text, text, text, bigint, bigint, jsonb[]) is
  'For perch_worker: of each of these filters whether it may be true of a row that changed between two positions, before or after. schema_name, relation_name: the synced table; app_id, table_name: its name in the log. Errors: PE404, PE422. Example: select perch.shape_matches(schema_name => ''public'', relation_name => ''orders'', app_id => ''shop'', table_name => ''orders'', after_position => 0, upto => 10, filters => ''{}'');';
