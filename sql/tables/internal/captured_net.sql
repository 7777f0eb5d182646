-- A row that was there only in between is among the old rows as often as among the new ones. What is left of the old
-- ones was there before the transaction, and what is left of the new ones is there behind it: at most one each, as the
-- key is checked when the transaction commits. Deletions come first: whoever reads several spaces by position knows a
-- row by its key alone.
create or replace function perch.captured_net(changes perch.captured_changes[])
returns perch.captured_changes[]
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  deletions perch.captured_changes[] := '{}';
  others perch.captured_changes[] := '{}';
  change perch.captured_changes;
begin
  for change in
    -- The last one in each space says who did it.
    select distinct on ((changes[n]).space_id) (changes[n]).* from generate_subscripts(changes, 1) n
     order by (changes[n]).space_id, n desc
  loop
    select (array_agg(r.row) filter (where r.left_over > 0))[1], (array_agg(r.row) filter (where r.left_over < 0))[1]
      into change.old_row, change.new_row
      from (
        select v.row, sum(v.sign) as left_over
          from unnest(changes) c cross join lateral (values (c.old_row, 1), (c.new_row, -1)) v (row, sign)
         where c.space_id = change.space_id and v.row is not null
         group by v.row) r;
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
