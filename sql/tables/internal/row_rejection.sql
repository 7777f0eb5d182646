create or replace function perch.row_rejection(change perch.change, code text, message text, detail jsonb)
returns jsonb
language sql immutable
set search_path = pg_catalog, pg_temp
return jsonb_build_object('op_id', change.op_id, 'status', 'rejected', 'space_id', change.space_id, 'seq', null,
  'error', jsonb_build_object('code', code, 'message', format('%s: %s', perch.error_word(code), message), 'detail',
    detail));

comment on function perch.row_rejection(perch.change, text, text, jsonb) is
  'Private. The result of a change of a synced row that is refused.';
