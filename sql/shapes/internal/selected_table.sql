create or replace function perch.selected_table(
  node jsonb, out synced perch.synced_relations, out spaces text[], out columns jsonb
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  missing text;
begin
  synced := perch.open_relation(node ->> 2, node ->> 3);
  if synced.reads_more then
    perform perch.fail('PE422', format('a filter may not select from %s, whose rules for rows read other tables',
      synced.table_name), jsonb_build_object('argument', 'where'),
      'Select from a table whose row_filter is over its own row.');
  end if;
  spaces := perch.shape_spaces(synced);
  columns := perch.shape_columns(synced, spaces);
  select n into missing from jsonb_array_elements_text(node -> 4) n where (columns ? n) is not true limit 1;
  if missing is not null then
    perform perch.fail('PE422', format('%s has no column %I that a filter may name', synced.table_name, missing),
      jsonb_build_object('argument', 'where', 'column', missing),
      'Name columns that the table has and its rules let you see.');
  end if;
end
$$;

comment on function perch.selected_table(jsonb) is
  'Private. The table that a sub-select of a filter is over, the spaces of the current user that its rows may be in, and its columns as perch.shape_columns says. PE404, PE422.';
