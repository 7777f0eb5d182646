-- Statements of triggers end before the statement that set them off, so they are captured before it: of a row that an
-- AFTER trigger changes, the update comes before the insertion. What each of them did says in which order it was: each
-- begins with what the one before left. So for every row that a transaction wrote more than once it is looked whether
-- they fit; where one does not, it is put before what goes on from it. (Changes of records have their order.)
--
-- A key that is checked at the end of a transaction may have two rows in it meanwhile. What was done to one of them
-- does not go on from what was done to the other; and where it seems to, as for one that is inserted and deleted again,
-- it says nothing of the one that stays. So the transaction as a whole did this to the key (perch.captured_net).
create or replace function perch.mend_order(ordinals bigint[], ends bigint[])
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  crossed record;
  places perch.captured_changes[];
  sorted integer[];
  place integer;
  count integer;
  changes perch.captured_changes[];
begin
  for crossed in
    with several as (
      -- Of one statement alone nothing can be out of order.
      select g from unnest(mend_order.ends) g group by g having count(*) > 1
    ),
    steps as (
      select c.txid, c.app_id, c.table_name, c.record_id, c.old_row,
             lag(c.new_row) over w as before, row_number() over w as step
        from unnest(mend_order.ordinals, mend_order.ends) b (ordinal, greatest)
        join several s on s.g = b.greatest
       cross join lateral (
         select x.* from perch.captured_changes x where x.ordinal = b.ordinal and x.at is null offset 0) c
      window w as (partition by c.txid, c.app_id, c.table_name, c.record_id order by c.ordinal, c.nth)
    )
    select s.txid, s.app_id, s.table_name, s.record_id, bool_or(l.is_late) as is_late
      from steps s
     cross join lateral (
       select (s.app_id, s.table_name) in (
         select r.app_id, r.table_name
           from perch.synced_relations r join pg_index i on i.indrelid = r.relation
          where i.indisprimary and not i.indimmediate)) l (is_late)
     where s.step > 1 and (s.before is distinct from s.old_row or l.is_late)
     group by s.txid, s.app_id, s.table_name, s.record_id
  loop
    places := array(
      select c from perch.captured_changes c
       where c.ordinal = any (mend_order.ordinals) and c.txid = crossed.txid
         and c.app_id = crossed.app_id and c.table_name = crossed.table_name and c.record_id = crossed.record_id
       order by c.ordinal, c.nth);
    sorted := '{}';
    for nth in 1 .. cardinality(places) loop
      count := cardinality(sorted);
      -- Between two that do not fit, where it goes on from the one and the other from it; else behind all, where it
      -- goes on from the last;
      -- else before one that goes on from it.
      place := coalesce(
        (select max(p) from generate_series(2, count) p
          where places[sorted[p - 1]].new_row is distinct from places[sorted[p]].old_row
            and places[sorted[p - 1]].new_row is not distinct from places[nth].old_row
            and places[sorted[p]].old_row is not distinct from places[nth].new_row),
        case when count = 0 or places[sorted[count]].new_row is not distinct from places[nth].old_row
          then count + 1 end,
        (select max(p) from generate_series(1, count) p
          where (p = 1 or places[sorted[p - 1]].new_row is distinct from places[sorted[p]].old_row)
            and places[sorted[p]].old_row is not distinct from places[nth].new_row),
        count + 1);
      sorted := sorted[:place - 1] || nth || sorted[place:];
    end loop;
    changes := array(select places[s.nth] from unnest(sorted) with ordinality s (nth, place) order by s.place);
    if crossed.is_late or exists (
      select from generate_series(2, cardinality(changes)) p
       where changes[p - 1].new_row is distinct from changes[p].old_row)
    then
      changes := perch.captured_net(changes);
    end if;
    -- The last places are kept.
    count := cardinality(places) - cardinality(changes);
    delete from perch.captured_changes c using unnest(places[:count]) p where c.ordinal = p.ordinal and c.nth = p.nth;
    update perch.captured_changes c
       set space_id = s.space_id, op = s.op, old_row = s.old_row, new_row = s.new_row, user_id = s.user_id,
           client_id = s.client_id, op_id = s.op_id
      from generate_series(1, cardinality(changes)) n
     cross join lateral unnest(changes[n:n]) s
     cross join lateral unnest(places[count + n:count + n]) p
     where c.ordinal = p.ordinal and c.nth = p.nth;
    if count > 0 then
      perform perch.number_first(array(select distinct p.ordinal from unnest(places[:count]) p));
    end if;
  end loop;
end
$$;

comment on function perch.mend_order(bigint[], bigint[]) is
  'Private. Puts what one transaction did to one row into the order in which it did it.';
