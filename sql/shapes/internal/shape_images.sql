-- How a table was at an earlier moment, as far as it is another now: the first change of each row since then says what
-- it had been. What has a number comes before what waits for one; of one row, ordinals are in the order of its locks.
--
-- $1: spaces; $2: the snapshot of that moment; $3: the position that had been reached then (whatever has a smaller one
-- was visible); $4, $5: app and table.
create or replace function perch.shape_images(synced perch.synced_relations)
returns text
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
  select format(
    $f$select distinct on (c.space_id, c.record_id) c.old_row, c.any_row
         from (
           select l.space_id, l.record_id, 0 as kind, l.position as place, 0 as nth, i.old_row,
                  coalesce(i.old_row, i.new_row, l.data) as any_row
             from perch.sync_changes l
             left join perch.row_images i on i.space_id = l.space_id and i.seq = l.seq
            where l.position > $3 and l.app_id = $4 and l.table_name = $5 and l.space_id = any ($1)
              and not pg_visible_in_snapshot(l.txid, $2)
           union all
           select q.space_id, q.record_id, 1, q.ordinal, q.nth, q.old_row, coalesce(q.old_row, q.new_row)
             from perch.captured_changes q
            where q.app_id = $4 and q.table_name = $5 and q.space_id = any ($1)
              and not pg_visible_in_snapshot(q.txid, $2)) c
        order by c.space_id, c.record_id, c.kind, c.place, c.nth$f$)
$$;

comment on function perch.shape_images(perch.synced_relations) is
  'Private. The query for what rows of a synced table were, of which the log, or the queue, has changes since a moment: old_row (null: there was none), and any_row, an image of either time.';
