create or replace function perch.row_columns(relation perch.synced_relations, space_id text, record_id text)
returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  found record;
begin
  begin
    select * into found from perch.find_rows(relation, perch.key_columns(relation.relation),
      array[perch.row_key(relation.relation, record_id)], to_lock => false, is_new => false);
  exception when data_exception or integrity_constraint_violation then
    return null;
  end;
  if (perch.space_of_rows(relation, found.rows_there))[1] is distinct from space_id then
    return null;
  end if;
  return (select json_object_agg(c.key, c.value)::jsonb from jsonb_each(found.rows_there[1]) c
    where relation.documents ? c.key);
end
$$;

comment on function perch.row_columns(perch.synced_relations, text, text) is
  'Private. What the columns of a row show that are documents; null when there is no such row in the space.';
