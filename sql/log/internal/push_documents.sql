-- Lock order: the rows of the documents by key, then the counters by space (docs/architecture.md, "The order of
-- locks").
--
-- So the changes are taken document by document, in the order of the keys; those of one document stay in their order,
-- and on the order between documents nothing depends. A deletion logs at once, which takes the counter of its space:
-- there only the row is locked at first, and it is carried out, with what comes behind it in its document, when all
-- rows are taken. A row that is not there has nothing to lock; that deletion does nothing, and takes no counter, so it
-- is carried out at once.
--
-- given: the changes as they came, and were checked by perch.read_change; only documents have a base_revision.
--
-- also_spaces: whose counters the caller takes next. When any is taken here, all are, since counters have an order of
-- their own.
create or replace function perch.push_documents(
  changes perch.change[], app_id text, client_id text, results jsonb[], also_spaces text[], given jsonb
)
returns jsonb[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  change perch.change;
  later perch.change[] := '{}';
  last perch.change;
begin
  for change in
    select c.* from unnest(changes) c
     order by c.space_id collate "C", c.table_name collate "C", c.record_id collate "C", c.position
  loop
    if (last.space_id, last.table_name, last.record_id) = (change.space_id, change.table_name, change.record_id) then
      later := later || change;
      continue;
    elsif change.op = 'delete' then
      perform from perch.documents d
        where d.space_id = change.space_id and d.app_id = push_documents.app_id
          and d.table_name = change.table_name and d.record_id = change.record_id
          for update;
      if found then
        last := change;
        later := later || change;
        continue;
      end if;
    end if;
    results[change.position] := perch.push_document(change, push_documents.app_id, push_documents.client_id,
      (given -> (change.position - 1) ->> 'base_revision')::bigint);
  end loop;

  if later <> '{}' then
    perform perch.lock_heads(also_spaces || array(select c.space_id from unnest(later) c where c.op = 'delete'));
    foreach change in array later loop
      results[change.position] := perch.push_document(change, push_documents.app_id, push_documents.client_id,
        (given -> (change.position - 1) ->> 'base_revision')::bigint);
    end loop;
  end if;
  return results;
end
$$;

comment on function perch.push_documents(perch.change[], text, text, jsonb[], text[], jsonb) is
  'Private. Passes changes of document tables on, as patches for the worker, or deletes the document; adds their results, whose seq is the position of the document.';
