-- Lock order: receipts, before everything else (docs/architecture.md, "The order of locks"). Of two transactions with
-- the same op_id at once, the second waits at its INSERT until the first has committed (and then finds the receipt) or
-- rolled back (and then claims it itself).
create or replace function perch.claim_receipt(op_id text, digest bytea)
returns jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  receipt perch.push_receipts;
begin
  perform perch.check_id(claim_receipt.op_id, 'op_id');
  insert into perch.push_receipts (space_id, op_id, digest)
  values (perch.personal_space_id(perch.current_user_id()), claim_receipt.op_id, claim_receipt.digest)
  on conflict on constraint push_receipts_pkey do nothing;
  if found then
    return null;
  end if;
  select r.* into strict receipt from perch.push_receipts r
   where r.space_id = perch.personal_space_id(perch.current_user_id()) and r.op_id = claim_receipt.op_id;
  if receipt.digest <> claim_receipt.digest then
    perform perch.fail('PE409', 'this op_id was used for another change',
      jsonb_build_object('op_id', claim_receipt.op_id),
      'Give every change an op_id of its own; repeat a change with exactly what was sent first.');
  end if;
  return receipt.result;
end
$$;

comment on function perch.claim_receipt(text, bytea) is
  'Private. Null when the current user uses this op_id for the first time (it is claimed now); else the result of the first time. Another digest than then: PE409.';
