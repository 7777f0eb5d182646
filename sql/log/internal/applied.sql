-- One expression, which the planner takes into the statement around it.
create or replace function perch.applied(op_id text, space_id text, seq bigint)
returns jsonb
language sql stable
return case when seq is not null
  then jsonb_build_object('op_id', op_id, 'status', 'applied', 'space_id', space_id, 'seq', seq)
  else jsonb_build_object('op_id', op_id, 'status', 'applied', 'space_id', space_id, 'seq', null,
         'txid', pg_current_xact_id()::text) end;

comment on function perch.applied(text, text, bigint) is
  'Private. The result of a change to a record; seq null: its number is still to come.';
