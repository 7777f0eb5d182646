-- One snapshot for all: what is chosen, which transactions are open, and where to go on. A window of the queue is
-- looked at, from the oldest on. Of the transactions in it, those are chosen that end in it: all that have a smaller
-- greatest ordinal begin in it, too, so they are chosen as well. Where none ends in it, it is widened to where the
-- first of them ends: that batch is as large as it is, since a transaction is never cut in two.
--
-- open_txids: the transactions that a snapshot names as open, and behind them its xmax: whoever began later than any
-- that had ended by then is not named, and is known by having that id or a greater one.
create or replace function perch.choose_captured(
  bound bigint, open_txids xid8[], latest bigint, max_count integer,
  out ordinals bigint[], out ends bigint[], out new_bound bigint, out new_open xid8[], out is_all boolean
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
  looked_at as materialized (
    select r.ordinal, r.txid from recent r
    union
    select l.ordinal, l.txid from late l
  ),
  span as materialized (
    select count(*) = max_count as is_full, max(r.ordinal) as last from recent r
  ),
  transactions as materialized (
    -- Only a full window may leave something of them behind it.
    select t.txid,
           case when s.is_full then (
             select c.ordinal from perch.captured_changes c
              where c.nth = 1 and c.txid = t.txid order by c.ordinal desc limit 1) else t.last end as greatest
      from span s
     cross join (select l.txid, max(l.ordinal) as last from looked_at l group by l.txid) t
  ),
  reach as materialized (
    -- The last statement of a full window may go on behind it.
    select case when not s.is_full then 9223372036854775807
                when exists (select from transactions t where t.greatest < s.last) then s.last - 1
                else (select min(t.greatest) from transactions t) end as upto
      from span s
  ),
  wide as (
    -- Of a widened window: all that ends in it, also what has nothing in the window itself.
    select c.txid, (select x.ordinal from perch.captured_changes x where x.nth = 1 and x.txid = c.txid
      order by x.ordinal desc limit 1) as greatest
      from (
        select t.txid from transactions t cross join reach e cross join span s
         where e.upto >= s.last and e.upto < 9223372036854775807
        union
        select x.txid from perch.captured_changes x
         where x.nth = 1 and x.queued is null and x.ordinal > (select s.last from span s)
           and x.ordinal <= (select e.upto from reach e where e.upto < 9223372036854775807)) c
  ),
  statements as materialized (
    select l.ordinal, t.greatest
      from looked_at l join transactions t on t.txid = l.txid
     where t.greatest <= (select e.upto from reach e)
    union
    select c.ordinal, w.greatest
      from wide w
     cross join lateral (select x.ordinal from perch.captured_changes x where x.txid = w.txid and x.nth = 1 offset 0) c
     where w.greatest <= (select e.upto from reach e)
  )
  select array_agg(s.ordinal), array_agg(s.greatest),
         least(latest,
               (select min(l.ordinal) - 1 from looked_at l
                 where not exists (select from statements s where s.ordinal = l.ordinal)),
               (select s.last from span s where s.is_full)),
         array(select x::text::xid8
           from pg_snapshot_xip(pg_current_snapshot()) x) || pg_snapshot_xmax(pg_current_snapshot())::text::xid8,
         (select not s.is_full from span s)
    into ordinals, ends, new_bound, new_open, is_all
    from (select s.* from statements s order by s.greatest, s.ordinal) s;
  ordinals := coalesce(ordinals, '{}');
end
$$;

comment on function perch.choose_captured(bigint, xid8[], bigint, integer) is
  'Private. Which statements of the queue to give numbers now, whole transactions, in the order of their numbers; and up to which ordinal nothing will be left then but what transactions wrote that are open. is_all: beyond it neither.';
