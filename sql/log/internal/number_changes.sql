-- Lock order: the counters, by space id, behind everything else; they are only tried, so nobody waits for them
-- (docs/architecture.md, "The order of locks").
--
-- A change gets its number at once where the counter of its space is free and nothing of the space is captured, or else
-- it is captured as well and the sequencer numbers it (perch.capture_changes, perch.number_captured). Why the log of a
-- space then has what conflicting writers did in the order of their commits, whichever way each went: let T1 and T2
-- write one record (or T2 something else that rests on what it has seen of T1), and T1 commit first. T2 has the lock of
-- the record, or has seen T1, before this statement takes its snapshot: so T1 is in it.
-- 1. T1 had a number. T2 gets one under the counter, now or from the sequencer, behind T1's commit: a greater one.
-- 2. T1 was captured, and has no number in that snapshot. Then T2 sees it in the queue, and is captured. Its ordinal
--    is taken behind T1's commit, so it is greater than all of T1's, and the sequencer keeps to that.
-- 3. T1 was captured, and has its number in that snapshot, or T1 is not in the queue any more because whoever moved it
--    has committed: as 1.
--
-- A transaction stays together: what it pushes after it captured something in the space is captured, too (its own is in
-- sight). And after it took numbers, whose counter it holds since, it goes on taking them, so that its entries stand
-- one behind the other, although others may have captured changes of the space meanwhile: unless of one of its records,
-- which would overtake them. In a push with calls, which may write rows of synced tables, whose place is the queue,
-- all is captured (perch.capturing).
--
-- A record's fields are merged by time, so its values do not depend on any of that: it decides what a reader sees in
-- between, and who reads the log without merging.
create or replace function perch.number_changes(changes perch.change[], app_id text, created_at timestamptz)
returns bigint[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
declare
  seqs bigint[];
begin
  if exists (select from unnest(changes) c
              where not exists (select from perch.space_heads h where h.space_id = c.space_id)) then
    perform perch.make_heads(array(select c.space_id from unnest(changes) c));
  end if;
  with wanted as materialized (
    select c.space_id, count(*) as count from unnest(changes) c group by c.space_id order by c.space_id
  ),
  free as materialized (
    select h.space_id
      from perch.space_heads h
     where h.space_id = any (array(select w.space_id from wanted w))
       and current_setting('perch.capturing', true) is distinct from 'on'
       and (not exists (select from perch.waiting_in(h.space_id))
            or exists (select from perch.sync_changes l
                        where l.space_id = h.space_id and l.seq = h.seq and l.txid = pg_current_xact_id())
               and not exists (
                     select from perch.captured_changes q
                       join unnest(changes) c
                         on c.space_id = q.space_id and c.table_name = q.table_name and c.record_id = q.record_id
                      where q.space_id = h.space_id and q.app_id = number_changes.app_id))
     order by h.space_id for no key update skip locked
  ),
  taken as (
    update perch.space_heads h set seq = h.seq + w.count, mark = perch.entry_mark(number_changes.created_at)
      from free f join wanted w on w.space_id = f.space_id
     where h.space_id = f.space_id
    returning h.space_id, h.seq
  ),
  numbered as (
    select c.position, c.space_id,
           row_number() over (partition by c.space_id
             order by c.position) - count(*) over (partition by c.space_id) as behind
      from unnest(changes) c
  )
  select array_agg(t.seq + n.behind order by n.position) into seqs
    from numbered n left join taken t on t.space_id = n.space_id;
  return seqs;
end
$$;
grant execute on function perch.number_changes to perch_worker;

comment on function perch.number_changes(perch.change[], text, timestamptz) is
  'Private. Gives each change, whose record the caller has written, the next number of its space; null where it is to be captured instead. created_at: that of the entries to come.';
