-- Statements of triggers end before the statement that set them off, so they are captured before it: of a row that an
-- AFTER trigger changes, the update comes before the insertion. What each of them did says in which order it was: each
-- begins with what the one before left. So for every row that a transaction wrote more than once it is looked whether
-- they fit; where one does not, it is put before what goes on from it. (Changes of records have their order.)
--
-- A key that is checked at the end of a transaction may have two rows in it meanwhile. What was done to one of them
-- does not go on from what was done to the other; and where it seems to, as for one that is inserted and deleted again,
-- it says nothing of the one that stays. So the transaction as a whole did this to the key (perch.captured_net).
--
-- Of any other key there is one order. What is captured row by row says by versions of the row which it is
-- (perch.by_versions); else what its images say has to do. Where the transaction altered the table in between, images
-- on either side of that never fit, and what was captured stays in the order in which it was.
create or replace function perch.mend_order(ordinals bigint[], ends bigint[])
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_nestloop = off
set jit = off
as $$
declare
  crossed record;
  places perch.captured_changes[];
  sorted integer[];
  place integer;
  count integer;
  changes perch.captured_changes[];
  fewer boolean := false;
begin
  for crossed in
    with several as (
      -- Of one statement alone nothing can be out of order.
      select g from unnest(mend_order.ends) g group by g having count(*) > 1
    ),
    steps as materialized (
      select c.txid, c.app_id, c.table_name, c.record_id, c.old_version, c.new_version,
             lag(c.new_row) over w is distinct from c.old_row
               or lag(c.new_version) over w is distinct from c.old_version as is_broken,
             row_number() over w as step
        from unnest(mend_order.ordinals, mend_order.ends) b (ordinal, greatest)
        join several s on s.g = b.greatest
       cross join lateral (
         select x.* from perch.captured_changes x where x.ordinal = b.ordinal and x.at is null offset 0) c
      window w as (partition by c.txid, c.app_id, c.table_name, c.record_id order by c.ordinal, c.nth)
    ),
    early as (
      -- Before what it goes on from.
      select s.txid, s.app_id, s.table_name, s.record_id
        from steps s
        join steps l on l.new_version = s.old_version and l.txid = s.txid and l.app_id = s.app_id
         and l.table_name = s.table_name and l.record_id = s.record_id and l.step > s.step
    ),
    crossed as materialized (
      select w.txid, w.app_id, w.table_name, w.record_id, bool_or(l.is_late) as is_late
        from (
          select s.txid, s.app_id, s.table_name, s.record_id, s.is_broken from steps s where s.step > 1
          union all
          select e.txid, e.app_id, e.table_name, e.record_id, true from early e) w
       cross join lateral (
         select (w.app_id, w.table_name) in (
           select r.app_id, r.table_name
             from perch.synced_relations r join pg_index i on i.indrelid = r.relation
            where i.indisprimary and not i.indimmediate)) l (is_late)
       where w.is_broken or l.is_late
       group by w.txid, w.app_id, w.table_name, w.record_id
    )
    -- All of them at once: for each by itself the batch would be read again.
    select k.is_late, array_agg(c.change order by c.ordinal, c.nth) as places
      from unnest(mend_order.ordinals) b (ordinal)
     cross join lateral (
       select x as change, x.* from perch.captured_changes x where x.ordinal = b.ordinal and x.at is null offset 0) c
      join crossed k
        on k.txid = c.txid and k.app_id = c.app_id and k.table_name = c.table_name and k.record_id = c.record_id
     group by k.txid, k.app_id, k.table_name, k.record_id, k.is_late
  loop
    places := crossed.places;
    sorted := case when not crossed.is_late then perch.by_versions(places) end;
    for nth in 1 .. case when crossed.is_late or sorted <> '{}' then 0 else cardinality(places) end loop
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
    changes := case when crossed.is_late then perch.captured_net(places)
      else array(select places[s.nth] from unnest(sorted) with ordinality s (nth, place) order by s.place) end;
    continue when changes = places;
    perform perch.replace_captured(places, changes);
    fewer := fewer or cardinality(changes) < cardinality(places);
  end loop;
  if fewer then
    perform perch.number_first(ordinals);
  end if;
end
$$;

comment on function perch.mend_order(bigint[], bigint[]) is
  'Private. Puts what one transaction did to one row into the order in which it did it.';
