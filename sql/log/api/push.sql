-- Lock order: receipts (by op_id), documents (by key), records (by key), the counters of the spaces, which are only
-- tried (docs/architecture.md, "The order of locks"). The counter is the last that is taken, with all checking and
-- waiting done before, and whoever finds it taken goes on without a number (perch.number_changes).
create or replace function perch.push(app_id text, changes jsonb, client_id text, atomic boolean default false)
returns jsonb
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  now constant timestamptz := clock_timestamp();
  result jsonb;
begin
  if perch.catches_undone() then
    begin
      return perch.push(app_id, changes, client_id, atomic);
    exception when serialization_failure then
      perform perch.fail_undone(sqlerrm);
    end;
  end if;
  -- Of one change alone it makes no difference whether it is atomic.
  result := perch.push_single(app_id, changes, client_id, now);
  if result is not null then
    return result;
  elsif atomic then
    return perch.push_atomic(app_id, changes, client_id, now);
  end if;
  return perch.push_many(app_id, changes, client_id, now);
end
$$;
grant execute on function perch.push to perch_app;

comment on function perch.push(text, jsonb, text, boolean) is
  'Writes changes of an app to the log and to the records, as the current user, in the caller''s transaction: changes is an array of {op, table, id, data, field_meta, at, op_id, space_id, schema_version, base_seq, base_revision, actor, origin}, of which only op (insert, update, delete), table and id are required; client_id names the device. Returns {"results": [{op_id, status, space_id, seq, error}]}, one for each change, in order, of documents with a revision that identifies seq; of a change that did not wait for its number seq is null, and txid names the transaction, with which it is pulled, as with its op_id: applied; replayed, when the op_id was applied before; rejected, with the code and message of the error (PE403, PE404, PE409, PE410, PE413, PE422), which harms no other change. A change may also call a function of the app: {"op": "call", "name", "args", "op_id"} (see perch.register_mutator), whose result is {op_id, status, txid, result}. atomic: all changes apply or none: those at fault have their errors, the others PE409 with {"reason": "aborted"}, and all may be sent again. Errors that refuse the whole push: PE401 without a user, PE413 for too many changes, PE422 when changes is not an array or app_id or client_id is unusable. Example: select perch.push(app_id => ''todo'', changes => ''[{"op": "insert", "table": "tasks", "id": "t1", "data": {"title": "Buy milk"}}]'', client_id => ''phone'');';
