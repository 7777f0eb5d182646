-- Deferred, so that the ordinal is taken when all else of the transaction is done, and while it holds the counter of
-- the space, until its commit. So (1) in a space ordinals are in the order of the log: whoever takes the counter
-- next does it behind that commit. And (2) of two transactions of which one had committed before the other began,
-- all ordinals of the first are smaller.
--
-- It is there only while there are readers (perch.register_reader makes it, perch.triggers keeps it): the catalog is
-- read as it is by every transaction, also by one whose snapshot is older than the first reader.
create or replace function perch.note_commit()
returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  insert into perch.commit_order (ordinal, txid, space_id, first_seq, last_seq)
  values (nextval('perch.commit_ordinal'), pg_current_xact_id(), new.space_id, coalesce(old.seq, 0) + 1, new.seq);
  return null;
end
$$;

comment on function perch.note_commit() is
  'Private. Trigger of the counters, while there are readers of services: notes which entries a transaction has logged.';
