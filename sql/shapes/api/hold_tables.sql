-- TRUNCATE shows in every snapshot: to whoever reads the table behind it, it is empty, also by a snapshot that is
-- older, which shows nothing of the log that would say what was there. The functions that read tables for shapes are
-- stable: the snapshot of the statement that calls them comes before the locks on the tables. So these are taken by
-- a statement of its own before. Until the transaction ends nobody truncates them then, and one who did before is seen.
--
-- Any order of the tables will do: readers wait for nobody but TRUNCATE and what alters a table.
create or replace function perch.hold_tables(schema_names text[], table_names text[])
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  me constant text := perch.require_user();
  place record;
begin
  for place in
    select (perch.open_relation(n.schema_name, n.table_name)).relation
      from unnest(schema_names, table_names) n (schema_name, table_name)
  loop
    -- The same lock as LOCK TABLE would take, which Citus takes on every node, as a role that may not log in there.
    execute format('select from %s limit 0', place.relation);
  end loop;
end
$$;
grant execute on function perch.hold_tables to perch_app;

comment on function perch.hold_tables(text[], text[]) is
  'For whoever serves shapes: synced tables, by their schemas and names in the database, are not truncated until the transaction ends; to be called by a statement before the one that reads their rows (perch.shape_rows, perch.shape_subset, perch.shape_changes with sub-selects). Errors: PE401, PE404 when no such table is synced. Example: select perch.hold_tables(schema_names => ''{public}'', table_names => ''{orders}'');';
