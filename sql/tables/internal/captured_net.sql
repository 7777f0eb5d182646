-- A row that was there only in between is among the old rows as often as among the new ones. What is left of the old
-- ones was there before the transaction, and what is left of the new ones is there behind it: at most one each, as the
-- key is checked when the transaction commits. Deletions come first: whoever reads several spaces by position knows a
-- row by its key alone. Where more than that is left the table was altered in between, and the changes stay as they
-- are.
create or replace function perch.captured_net(changes perch.captured_changes[])
returns perch.captured_changes[]
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  deletions perch.captured_changes[] := '{}';
  others perch.captured_changes[] := '{}';
  change perch.captured_changes;
  net record;
begin
  -- All spaces in one statement, and no subscripts: each would go through the array from its beginning.
  for net in
    with each as materialized (
      select c as change, c.space_id, c.old_row, c.new_row, row_number() over () as nth from unnest(changes) c
    ), last as (
      -- The last one in each space says who did it.
      select distinct on (e.space_id) e.space_id, e.change from each e order by e.space_id, e.nth desc
    ), left_over as (
      select e.space_id, v.row, sum(v.sign) as count
        from each e cross join lateral (values (e.old_row, 1), (e.new_row, -1)) v (row, sign)
       where v.row is not null
       group by e.space_id, v.row
      having sum(v.sign) <> 0
    ), left_in as (
      select l.space_id, (array_agg(l.row) filter (where l.count > 0))[1] as old_row,
             (array_agg(l.row) filter (where l.count < 0))[1] as new_row,
             sum(greatest(l.count, 0)) > 1 or sum(least(l.count, 0)) < -1 as are_more
        from left_over l
       group by l.space_id
    )
    select l.change, i.old_row, i.new_row, coalesce(i.are_more, false) as are_more
      from last l left join left_in i on i.space_id = l.space_id
     order by l.space_id
  loop
    if net.are_more then
      return changes;
    end if;
    change := net.change;
    change.old_row := net.old_row;
    change.new_row := net.new_row;
    if change.new_row is not null then
      change.op := case when change.old_row is null then 'insert' else 'update' end;
      others := others || change;
    elsif change.old_row is not null then
      change.op := 'delete';
      deletions := deletions || change;
    end if;
  end loop;
  return deletions || others;
end
$$;

comment on function perch.captured_net(perch.captured_changes[]) is
  'Private. What one transaction did to one key as a whole, in each space at most one change: in: all that it did to it.';
