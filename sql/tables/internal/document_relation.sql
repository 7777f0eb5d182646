-- In PL/pgSQL, which keeps the plan for the session: it is asked for with every write of a document.
create or replace function perch.document_relation(app_id text, table_name text)
returns perch.synced_relations
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  found perch.synced_relations;
begin
  select r.* into found from perch.synced_relations r
   where r.app_id = document_relation.app_id and r.table_name = document_relation.table_name and r.documents <> '{}';
  return found;
end
$$;
grant execute on function perch.document_relation to perch_worker;

comment on function perch.document_relation(text, text) is
  'Private. The synced table of this name, where it has documents in columns; else null.';
