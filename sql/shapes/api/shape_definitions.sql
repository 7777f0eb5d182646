-- Stable, so of the snapshot of the statement that calls it. Rights may change between the statement that opens a shape
-- and the one that reads it: called by the latter, this tells by which rights it read.
create or replace function perch.shape_definitions(schema_names text[], table_names text[])
returns text[]
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  me constant text := perch.require_user();
  definitions text[] := '{}';
  place record;
  synced perch.synced_relations;
  spaces text[];
begin
  for place in select n.* from unnest(schema_names, table_names) n (schema_name, table_name) loop
    synced := perch.open_relation(place.schema_name, place.table_name);
    spaces := perch.shape_spaces(synced);
    definitions := definitions || perch.shape_definition(synced, spaces, perch.shape_columns(synced, spaces));
  end loop;
  return definitions;
end
$$;
grant execute on function perch.shape_definitions to perch_app;

comment on function perch.shape_definitions(text[], text[]) is
  'What perch.open_shape says as definition of each of these synced tables, by their schemas and names in the database, in the snapshot of the statement that asks: to be asked by the one that reads their rows or changes. Errors: PE401, PE404 when no such table is synced. Example: select perch.shape_definitions(schema_names => ''{public}'', table_names => ''{orders}'');';
