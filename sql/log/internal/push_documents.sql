-- Lock order: the rows of the documents by key (docs/architecture.md, "The order of locks"). So the changes are taken
-- document by document, in the order of the keys; those of one document stay in their order, and on the order between
-- documents nothing depends.
--
-- given: the changes as they came, and were checked by perch.read_change; only documents have a base_revision.
create or replace function perch.push_documents(
  changes perch.change[], app_id text, client_id text, results jsonb[], given jsonb
)
returns jsonb[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  change perch.change;
begin
  for change in
    select c.* from unnest(changes) c order by c.space_id, c.table_name, c.record_id, c.position
  loop
    results[change.position] := perch.push_document(change, push_documents.app_id, push_documents.client_id,
      (given -> (change.position - 1) ->> 'base_revision')::bigint);
  end loop;
  return results;
end
$$;

comment on function perch.push_documents(perch.change[], text, text, jsonb[], jsonb) is
  'Private. Passes changes of document tables on, as patches for the worker, or deletes the document; adds their results, whose seq is the position of the document.';
