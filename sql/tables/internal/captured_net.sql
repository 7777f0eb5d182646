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
  left_over record;
begin
  for change in
    -- The last one in each space says who did it.
    select distinct on ((changes[n]).space_id) (changes[n]).* from generate_subscripts(changes, 1) n
     order by (changes[n]).space_id, n desc
  loop
    select (array_agg(r.row) filter (where r.left_over > 0))[1] as old_row,
           (array_agg(r.row) filter (where r.left_over < 0))[1] as new_row,
           sum(greatest(r.left_over, 0)) > 1 or sum(least(r.left_over, 0)) < -1 as are_more
      into left_over
      from (
        select v.row, sum(v.sign) as left_over
          from unnest(changes) c cross join lateral (values (c.old_row, 1), (c.new_row, -1)) v (row, sign)
         where c.space_id = change.space_id and v.row is not null
         group by v.row) r;
    if left_over.are_more then
      return changes;
    end if;
    change.old_row := left_over.old_row;
    change.new_row := left_over.new_row;
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
