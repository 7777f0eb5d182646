-- Lock order: the counters, by space id (docs/architecture.md, "The order of locks"); but for the first, which it may
-- wait for, counters and receipts are only tried.
--
-- A batch is small, because the counters of the spaces it shortens are held from the first of them until commit. Spaces
-- whose counter somebody holds are left for the next call; only when nothing else is to be done does it wait, and then
-- holds nothing. Readers are not disturbed: a page is read in one snapshot, which shows the entries and oldest_seq as
-- they were together.
create or replace function perch.prune_changes(keep_for interval, keep_last bigint)
returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  young constant timestamptz := clock_timestamp() - prune_changes.keep_for;
  receipts_before constant timestamptz := clock_timestamp() - make_interval(hours
    => perch.setting('keep_receipts_hours', 720)::int);
  batch constant bigint := greatest(perch.setting('prune_batch', 2000), 1);
  head record;
  upto bigint;
  pruned bigint := 0;
  busy text[] := '{}';
begin
  if (prune_changes.keep_for >= '0' and prune_changes.keep_last >= 0) is not true then
    perform perch.fail('PE422', 'keep_for and keep_last must both be given, and not be negative',
      jsonb_build_object('keep_for', prune_changes.keep_for, 'keep_last', prune_changes.keep_last),
      'An entry is kept when it is younger than keep_for, or one of the last keep_last of its space.');
  end if;

  for head in
    select h.space_id from perch.space_heads h
      join perch.sync_changes c on c.space_id = h.space_id and c.seq = h.oldest_seq
     where h.oldest_seq <= h.seq - prune_changes.keep_last and c.created_at < young
     order by h.space_id
  loop
    exit when pruned >= batch;
    perform from perch.space_heads h where h.space_id = head.space_id for no key update skip locked;
    if found then
      pruned := pruned + perch.prune_space(head.space_id, young, prune_changes.keep_last, batch - pruned);
    else
      busy := busy || head.space_id;
    end if;
  end loop;
  if pruned = 0 and busy <> '{}' then
    perform from perch.space_heads h where h.space_id = busy[1] for no key update;
    pruned := perch.prune_space(busy[1], young, prune_changes.keep_last, batch);
  end if;
  delete from perch.push_receipts r
   where r.ctid = any (array(
     select o.ctid from perch.push_receipts o where o.created_at < receipts_before order by o.created_at
       limit batch * 5 for update skip locked));
  perform perch.forget_commits(young);
  return pruned;
end
$$;
grant execute on function perch.prune_changes to perch_worker;

comment on function perch.prune_changes(interval, bigint) is
  'For perch_worker: forgets log entries that are older than keep_for and not among the last keep_last of their space; never records. Forgets one batch (prune_batch, 2000 entries unless set) and returns how many those were: call it, each time in a transaction of its own, until it returns 0. Cursors that point into what is forgotten fail with PE410, and their clients resync. What makes a push idempotent is kept for keep_receipts_hours (720 unless set), whatever becomes of the log: an op_id that is repeated later than that is applied again. Errors: PE422. Example: select perch.prune_changes(keep_for => ''30 days'', keep_last => 1000);';
