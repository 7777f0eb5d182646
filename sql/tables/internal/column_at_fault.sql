create or replace function perch.column_at_fault(relation regclass, data jsonb)
returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  field record;
begin
  for field in select d.key, d.value from jsonb_each(data) d order by d.key loop
    begin
      execute format('select from jsonb_to_record($1) as r (%s)',
        coalesce(perch.typed_columns(column_at_fault.relation, array[field.key]), 'perch_none text'))
        using data;
    exception when data_exception or integrity_constraint_violation or datatype_mismatch or program_limit_exceeded then
      return field.key;
    end;
  end loop;
  return null;
end
$$;

comment on function perch.column_at_fault(regclass, jsonb) is
  'Private. The first column whose type cannot take its value; null when all can.';
