-- Statements of triggers end before the statement that set them off, so they are captured before it: of a row that an
-- AFTER trigger changes, the update comes before the insertion. What each of them did says in which order it was: each
-- begins with what the one before left. So for every row that a transaction wrote more than once it is looked whether
-- they fit; where one does not, it is put before what goes on from it. (Changes of records have their order.)
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
begin
  for crossed in
    with several as (
      -- Of one statement alone nothing can be out of order.
      select g from unnest(mend_order.ends) g group by g having count(*) > 1
    ),
    steps as (
      select c.txid, c.space_id, c.app_id, c.table_name, c.record_id, c.old_row,
             lag(c.new_row) over w as before, row_number() over w as step
        from unnest(mend_order.ordinals, mend_order.ends) b (ordinal, greatest)
        join several s on s.g = b.greatest
       cross join lateral (
         select x.* from perch.captured_changes x where x.ordinal = b.ordinal and x.at is null offset 0) c
      window w as (partition by c.txid, c.space_id, c.app_id, c.table_name, c.record_id order by c.ordinal, c.nth)
    )
    select s.txid, s.space_id, s.app_id, s.table_name, s.record_id from steps s
     where s.step > 1 and s.before is distinct from s.old_row
     group by s.txid, s.space_id, s.app_id, s.table_name, s.record_id
  loop
    places := array(
      select c from perch.captured_changes c
       where c.ordinal = any (mend_order.ordinals) and c.txid = crossed.txid and c.space_id = crossed.space_id
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
    update perch.captured_changes c
       set op = (places[s.from_place]).op, old_row = (places[s.from_place]).old_row,
         new_row = (places[s.from_place]).new_row,
           user_id = (places[s.from_place]).user_id, client_id = (places[s.from_place]).client_id,
             op_id = (places[s.from_place]).op_id
      from unnest(sorted) with ordinality s (from_place, to_place)
     where c.ordinal = (places[s.to_place]).ordinal and c.nth = (places[s.to_place]).nth and s.from_place <> s.to_place;
  end loop;
end
$$;

comment on function perch.mend_order(bigint[], bigint[]) is
  'Private. Puts what one transaction did to one row into the order in which it did it.';
