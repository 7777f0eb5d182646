-- Lock order: whatever the function takes (docs/architecture.md, "The order of locks").
create or replace function perch.push_call(change perch.change, app_id text)
returns jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  answer jsonb;
  code text;
  message text;
  details text;
  remedy text;
  constraint_name text;
  column_name text;
begin
  answer := jsonb_build_object('space_id', null, 'seq', null, 'txid', pg_current_xact_id()::text,
    'result', perch.call_mutator(push_call.app_id, change.table_name, change.data));
  update perch.push_receipts r set result = answer
   where r.space_id = perch.personal_space_id(perch.current_user_id()) and r.op_id = change.op_id;
  return jsonb_build_object('op_id', change.op_id, 'status', 'applied') || answer;
exception when others then
  get stacked diagnostics code = returned_sqlstate, message = message_text, details = pg_exception_detail,
    remedy = pg_exception_hint, constraint_name = constraint_name, column_name = column_name;
  answer := perch.call_refusal(change, code, message, details, constraint_name, column_name, remedy);
  if answer is null then
    raise;
  end if;
  -- It may be tried again.
  delete from perch.push_receipts r
   where r.space_id = perch.personal_space_id(perch.current_user_id()) and r.op_id = change.op_id;
  return answer;
end
$$;

comment on function perch.push_call(perch.change, text) is
  'Private. Carries out one change that calls a mutator. Returns its result.';
