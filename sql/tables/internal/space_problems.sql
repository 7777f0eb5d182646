-- A writer is not failed by the expression of the space, and nor is whoever reads: so here it is said. Of as many rows
-- as can be looked at in a moment, as perch_owner, who may read the table.
create or replace function perch.space_problems(relation regclass)
returns text[]
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  synced perch.synced_relations;
  started constant timestamptz := clock_timestamp();
  told text;
  space text;
  image jsonb;
  failed bigint := 0;
  looked_at bigint := 0;
  example text;
begin
  select r.* into synced from perch.synced_relations r where r.relation = space_problems.relation;
  if synced.space_expression is null or not exists (select from pg_class c where c.oid = space_problems.relation) then
    return '{}';
  end if;
  told := format('select (%s)::text from jsonb_populate_record(null::%s, $1)', synced.space_expression,
    synced.relation);
  begin
    execute told || ' limit 0' into space using '{}'::jsonb;
  exception when assert_failure or others then
    if perch.is_servers_code(sqlstate) then
      raise;
    end if;
    return array[format('its space_expression cannot be evaluated (%s), so its rows are in no space', sqlstate)];
  end;
  for image in execute format('select to_jsonb(t.*) from %s t', synced.relation) loop
    begin
      execute told into space using image;
    exception when assert_failure or others then
      if perch.is_servers_code(sqlstate) then
        raise;
      end if;
      failed := failed + 1;
      example := coalesce(example, format('%s (%s)', perch.row_id(synced.relation, image,
        perch.key_columns(synced.relation)), sqlstate));
    end;
    looked_at := looked_at + 1;
    exit when clock_timestamp() > started + interval '100 ms';
  end loop;
  if failed > 0 then
    return array[format('its space_expression fails for %s of the %s rows looked at, which are in no space, such as %s',
      failed, looked_at, example)];
  end if;
  return '{}';
exception when insufficient_privilege or invalid_schema_name then
  -- It may not read the table, which is a problem of its own (perch.table_problems).
  return '{}';
end
$$;
grant execute on function perch.space_problems to perch_worker;

comment on function perch.space_problems(regclass) is
  'Private. What is wrong with the space_expression of a synced table: that it cannot be evaluated, or how many rows it fails for, with one of them by its id.';
