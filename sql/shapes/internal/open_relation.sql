create or replace function perch.open_relation(schema_name text, table_name text)
returns perch.synced_relations
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  synced perch.synced_relations;
begin
  synced := perch.find_relation(open_relation.schema_name, open_relation.table_name);
  if synced.relation is null then
    perform perch.fail('PE404', format('there is no synced table %I.%I', schema_name, open_relation.table_name),
      jsonb_build_object('argument', 'table', 'schema', schema_name, 'table', open_relation.table_name),
      'Make it one: select perch.sync_table(relation => …, app_id => …, space_column => …)');
  end if;
  return synced;
end
$$;

comment on function perch.open_relation(text, text) is
  'Private. The options of a synced table, by its schema and name in the database. PE404 when it is none.';
