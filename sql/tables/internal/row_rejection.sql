create or replace function perch.row_rejection(change perch.change, code text, message text, detail jsonb)
returns jsonb
language sql immutable
set search_path = pg_catalog, pg_temp
return perch.rejection(change.op_id, change.space_id, code, format('%s: %s', perch.error_word(code), message), detail);

comment on function perch.row_rejection(perch.change, text, text, jsonb) is
  'Private. The result of a change of a synced row that is refused.';
