-- Every request of a shape begins with it, so rights are those of this moment, and a definition that is another than
-- that of the reader's handle is found out before anything is read.
create or replace function perch.open_shape(schema_name text, table_name text)
returns jsonb
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  me constant text := perch.require_user();
  synced perch.synced_relations;
  spaces text[];
  columns jsonb;
begin
  synced := perch.open_relation(open_shape.schema_name, open_shape.table_name);
  perform perch.number_waiting();
  spaces := perch.shape_spaces(synced);
  columns := perch.shape_columns(synced, spaces);
  return json_build_object(
    'app_id', synced.app_id, 'table', synced.table_name, 'spaces', spaces,
    'columns', (select json_object_agg(c.key, c.value -> 'schema' order by (c.value -> 'number')::integer)
      from jsonb_each(columns) c),
    'epoch', (select l.epoch from perch.log_epoch l),
    'definition', perch.shape_definition(synced, spaces, columns),
    'content', perch.content_digest(synced),
    -- Whoever begins without rows has those of this moment in mind.
    'snapshot', pg_current_snapshot());
end
$$;
grant execute on function perch.open_shape to perch_app;

comment on function perch.open_shape(text, text) is
  'What the current user may see of a synced table, for whoever serves shapes of it; by its schema and name in the database. Returns {"app_id", "table", "spaces", "columns": {name: {"type", …}}, "epoch", "definition", "content", "snapshot"}: epoch is that of the log, in which its positions count; definition is the same for as long as rows and rights mean the same; content, of a table without rules (else null), for all who read any of its rows; snapshot is the moment, for whoever wants what happens from now on. Errors: PE401, PE404 when no such table is synced. Example: select perch.open_shape(schema_name => ''public'', table_name => ''orders'');';
