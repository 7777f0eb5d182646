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
exception when data_exception or integrity_constraint_violation or undefined_column or undefined_function
  or program_limit_exceeded or raise_exception or insufficient_privilege then
  return null;
end
$$;
grant execute on function perch.try_space to perch_worker;

comment on function perch.try_space(text, oid, jsonb) is
  'Private. The space that an expression tells of a row; null where it fails.';
