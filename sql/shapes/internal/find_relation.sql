-- A table whose triggers are gone is none of the log any more, whatever perch.synced_relations says: the oid may be
-- that of another table. (plpgsql keeps the plan: each request of a shape comes here several times.)
create or replace function perch.find_relation(schema_name text, table_name text)
returns perch.synced_relations
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  synced perch.synced_relations;
begin
  select r.* into synced
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    join perch.synced_relations r on r.relation = c.oid
   where n.nspname = find_relation.schema_name and c.relname = find_relation.table_name
     and exists (select from pg_trigger t join pg_proc p on p.oid = t.tgfoid
                  where t.tgrelid = c.oid and p.pronamespace = 'perch'::regnamespace);
  return synced;
end
$$;

comment on function perch.find_relation(text, text) is
  'Private. The options of a synced table, by its schema and name in the database; null when it is none.';
