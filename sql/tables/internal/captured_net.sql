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
    select distinct on (c.space_id) c.*
      from unnest(changes) c
      join unnest(changes) with ordinality o on (o.ordinal, o.nth) = (c.ordinal, c.nth)
     order by c.space_id, o.ordinality desc
  loop
    change.old_row := (
      select x.row from (
        select c.old_row as row from unnest(changes) c where c.space_id = change.space_id
        except all
        select c.new_row from unnest(changes) c where c.space_id = change.space_id) x
       where x.row is not null limit 1);
    change.new_row := (
      select x.row from (
        select c.new_row as row from unnest(changes) c where c.space_id = change.space_id
        except all
        select c.old_row from unnest(changes) c where c.space_id = change.space_id) x
       where x.row is not null limit 1);
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
