-- Lock order: the row of the first reader, which is only tried; then rows of perch.commit_order, which nobody else
-- writes.
--
-- Why the order agrees with that of the commits. What is placed now was visible now; what was placed earlier was
-- visible earlier, so nothing of that rests on anything of this. Of what is placed together, transactions go by
-- their greatest ordinal: perch.note_commit says why that keeps the order of each space, and puts what had committed
-- before what began later. A transaction is visible as a whole, and placed as a whole.
--
-- A window of what waits is looked at, from the oldest ordinal on, and those transactions are placed that end in it:
-- whoever ends behind it has a greater ordinal than all of these. Where none ends in it, it is widened.
create or replace function perch.order_commits()
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  most bigint := 20000;
  looked bigint;
  first text;
  placed bigint;
begin
  -- An older snapshot does not show who has committed; and a standby, or whoever only reads, reads what has its place.
  if current_setting('transaction_read_only') = 'on' or current_setting('transaction_isolation') <> 'read committed'
     or not exists (select from perch.commit_order c where c.position is null)
  then
    return;
  end if;
  select r.reader into first from perch.readers r
   where r.reader = (select min(f.reader) from perch.readers f) for no key update skip locked;
  -- Asked again: before it was locked another may have come to be the first.
  if first is null or first <> (select min(f.reader) from perch.readers f) then
    return;
  end if;
  loop
    with waiting as materialized (
      select c.ordinal, c.txid from perch.commit_order c where c.position is null order by c.ordinal limit most
    ),
    reach as materialized (
      select count(*) as count, max(w.ordinal) as last from waiting w
    ),
    ended as materialized (
      select w.txid, max(w.ordinal) as greatest
        from waiting w cross join reach r
       where r.count < most or not exists (
         select from perch.commit_order x where x.position is null and x.txid = w.txid and x.ordinal > r.last)
       group by w.txid
    ),
    places as (
      select w.ordinal, row_number() over (order by e.greatest, w.ordinal) as nth
        from waiting w join ended e on e.txid = w.txid
    ),
    given as (
      update perch.commit_order c
         set position = p.nth + coalesce((
               select max(h.position) from perch.commit_order h where h.position is not null), 0)
        from places p where c.ordinal = p.ordinal
      returning 1
    )
    select (select r.count from reach r), (select count(*) from given) into looked, placed;
    exit when placed > 0 or looked < most;
    most := most * 10;
  end loop;
end
$$;

comment on function perch.order_commits() is
  'Private. Gives what transactions have logged (perch.commit_order) its places in one order over all spaces; nothing while somebody else is at it.';
