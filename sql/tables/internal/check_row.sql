-- A client may name the key and the space of a row among its columns, as programs do that send whole rows: if they say
-- what the change says anyway.
create or replace function perch.check_row(relation perch.synced_relations, keys text[], change perch.change)
returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  key constant jsonb := perch.row_key(relation.relation, change.record_id);
  column_name text;
  said text;
  data jsonb := coalesce(change.data, '{}');
begin
  if key is null then
    perform perch.fail('PE422', format('%s is no key of a row of %s', change.record_id, change.table_name),
      jsonb_build_object('argument', 'id', 'table', change.table_name, 'columns', keys),
      'The primary key as text; of several columns, a JSON array of their values.');
  end if;
  if relation.space_id <> change.space_id then
    perform perch.fail('PE403', format('rows of %s are in another space', change.table_name),
      jsonb_build_object('space_id', change.space_id),
      'Push with the space that the rows of this table are in: the one that it was synced with.');
  end if;
  if relation.writable_columns = '{}' then
    perform perch.fail('PE403', format('clients may not write %s', change.table_name),
      jsonb_build_object('table', change.table_name),
        'perch.sync_table says which columns they may write (writable_columns).');
  end if;
  for column_name in select d.key from jsonb_object_keys(data) d (key)
    where d.key <> all (relation.writable_columns) loop
    said := case when column_name = any (keys) then key ->> column_name when column_name = relation.space_column
      then change.space_id end;
    if said is distinct from data ->> column_name or said is null then
      perform perch.fail('PE403', format('clients may not write column %s of %s', left(column_name, 100),
        change.table_name),
        jsonb_build_object('table', change.table_name, 'column', left(column_name, 100)),
        'perch.sync_table says which columns they may write (writable_columns).');
    end if;
    data := data - column_name;
  end loop;
  return data;
end
$$;

comment on function perch.check_row(perch.synced_relations, text[], perch.change) is
  'Private. The columns that a change of a synced row writes, when the user''s clients may. Errors: PE403 naming the column, PE422.';
