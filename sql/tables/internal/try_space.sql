create or replace function perch.try_space(expression text, relation oid, "row" jsonb)
returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  space text;
begin
  execute format('select (%s)::text from jsonb_populate_record(null::%s, $1)', expression,
    relation::regclass) into space using "row";
  return space;
exception when assert_failure or others then
  if perch.is_servers_code(sqlstate) then
    raise;
  end if;
  return null;
end
$$;
grant execute on function perch.try_space to perch_worker;

comment on function perch.try_space(text, oid, jsonb) is
  'Private. The space that an expression tells of a row; null where it fails.';
