-- Lock order: see perch.push_documents, which calls this in it.
create or replace function perch.push_document(change perch.change, app_id text, client_id text, base_revision bigint)
returns jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  relation perch.synced_relations;
  taken bigint;
  identity bigint;
  answer jsonb;
  code text;
  message text;
  details text;
  remedy text;
  constraint_name text;
  schema_name text;
begin
  if change.base_seq is not null then
    relation := perch.document_relation(push_document.app_id, change.table_name);
    if relation.relation is not null then
      perform perch.check_based_row(relation, change);
    end if;
  end if;
  if change.op = 'delete' then
    perform perch.delete_document(push_document.app_id, change.table_name, change.record_id, change.space_id);
    select t.seq into taken from perch.document_tombstones t
     where t.space_id = change.space_id and t.app_id = push_document.app_id
       and t.table_name = change.table_name and t.record_id = change.record_id;
  else
    select i.seq, i.revision into taken, identity
      from perch.append_to_inbox(push_document.app_id, change.table_name, change.record_id, change.space_id, 'patch',
             null, case when relation.relation is null then change.data else (
               select json_object_agg(d.key, d.value)::jsonb from jsonb_each(change.data) d
                where relation.documents ? d.key) end, change.base_seq, push_document.client_id,
             null, push_document.base_revision) i;
  end if;
  if relation.relation is not null then
    -- As with whatever is pushed to a row: its number comes with the log's entry.
    return jsonb_build_object('op_id', change.op_id, 'status', 'applied', 'space_id', change.space_id, 'seq', null,
      'txid', pg_current_xact_id()::text);
  end if;
  answer := jsonb_build_object('space_id', change.space_id, 'seq', taken)
    || case when identity is not null then jsonb_build_object('revision', identity) else '{}' end;
  update perch.push_receipts r set result = answer
   where r.space_id = perch.personal_space_id(perch.current_user_id()) and r.op_id = change.op_id;
  return jsonb_build_object('op_id', change.op_id, 'status', 'applied') || answer;
exception when others then
  get stacked diagnostics code = returned_sqlstate, message = message_text, details = pg_exception_detail,
    remedy = pg_exception_hint, constraint_name = constraint_name, schema_name = schema_name;
  answer := perch.refusal(change, code, message, details, constraint_name, schema_name, remedy);
  if answer is null then
    raise;
  end if;
  -- It may be tried again.
  delete from perch.push_receipts r
   where r.space_id = perch.personal_space_id(perch.current_user_id()) and r.op_id = change.op_id;
  return answer;
end
$$;

comment on function perch.push_document(perch.change, text, text, bigint) is
  'Private. Carries out one change of a document table: a patch for the worker, or the deletion. base_revision: what identifies its base_seq. Returns its result.';
