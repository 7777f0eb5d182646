-- One snapshot for all: what is chosen, which transactions are open, and where to go on. A window of the queue is
-- looked at, from the oldest on. Of the transactions in it, those are chosen that end in it: all that have a smaller
-- greatest ordinal begin in it, too, so they are chosen as well. Where none ends in it, it is widened to where the
-- first of them ends: that batch is as large as it is, since a transaction is never cut in two.
--
-- open_txids: the transactions that a snapshot names as open, and behind them its xmax: whoever began later than any
-- that had ended by then is not named, and is known by having that id or a greater one.
create or replace function perch.choose_captured(
  bound bigint, open_txids xid8[], latest bigint, max_count integer,
  out ordinals bigint[], out ends bigint[], out new_bound bigint, out new_open xid8[]
)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
begin
  with recent as materialized (
    select c.ordinal, c.txid from perch.captured_changes c
     where c.ordinal > choose_captured.bound and c.queued is null order by c.ordinal, c.nth limit max_count
  ),
  late as materialized (
    select c.ordinal, c.txid
      from unnest(choose_captured.open_txids[:cardinality(choose_captured.open_txids) - 1]) o (txid)
     cross join lateral (
       select x.ordinal, x.txid from perch.captured_changes x
        where x.nth = 1 and x.txid = o.txid and x.ordinal <= choose_captured.bound and x.queued is null offset 0) c
    union all
    select c.ordinal, c.txid
      from perch.captured_changes c
     where c.nth = 1 and c.txid >= choose_captured.open_txids[cardinality(choose_captured.open_txids)]
       and c.ordinal <= choose_captured.bound and c.queued is null
  ),
  transactions as materialized (
    select t.txid, g.greatest
      from (select r.txid from recent r union select l.txid from late l) t
     cross join lateral (
       select c.ordinal from perch.captured_changes c where c.nth = 1 and c.txid = t.txid
         order by c.ordinal desc limit 1) g (greatest)
  ),
  reach as (
    -- The last statement of a full window may go on behind it.
    select case when w.count < max_count then 9223372036854775807
                when exists (select from transactions t where t.greatest < w.last) then w.last - 1
                else (select min(t.greatest) from transactions t) end as upto
      from (select count(*) as count, max(r.ordinal) as last from recent r) w
  ),
  wide as (
    -- Between the window and its reach there are transactions that it does not have.
    select t.txid, t.greatest from transactions t
    union
    select c.txid, (select x.ordinal from perch.captured_changes x where x.nth = 1 and x.txid = c.txid
      order by x.ordinal desc limit 1)
      from perch.captured_changes c
     where c.nth = 1 and c.queued is null
       and c.ordinal > (select max(r.ordinal) from recent r) and c.ordinal <= (select e.upto from reach e
         where e.upto < 9223372036854775807)
  ),
  statements as materialized (
    select c.ordinal, w.greatest
      from wide w
     cross join lateral (select x.ordinal from perch.captured_changes x where x.txid = w.txid and x.nth = 1 offset 0) c
     where w.greatest <= (select e.upto from reach e)
  )
  select array_agg(s.ordinal order by s.greatest, s.ordinal), array_agg(s.greatest order by s.greatest, s.ordinal),
         least(latest,
               (select min(x.ordinal) - 1 from (select * from recent union all select * from late) x
                 where not exists (select from statements s where s.ordinal = x.ordinal)),
               (select max(r.ordinal) from recent r having count(*) = max_count)),
         array(select x::text::xid8
           from pg_snapshot_xip(pg_current_snapshot()) x) || pg_snapshot_xmax(pg_current_snapshot())::text::xid8
    into ordinals, ends, new_bound, new_open
    from statements s;
  ordinals := coalesce(ordinals, '{}');
end
$$;

comment on function perch.choose_captured(bigint, xid8[], bigint, integer) is
  'Private. Which statements of the queue to give numbers now, whole transactions, in the order of their numbers; and up to which ordinal nothing will be left then but what transactions wrote that are open.';
