-- $1: behind this position; $2: up to this one; $3, $4: app and table; $5: spaces. Entries of other tables and
-- spaces come with their position and transaction alone: what they were is not even read as rows of this table. An
-- insertion without an image has the whole row as its data. In their order, so that whoever needs only the first of
-- them has no more of them evaluated.
create or replace function perch.shape_entries()
returns text
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
  select $f$
    select l.position, l.txid, i.old_row,
           coalesce(i.new_row, case when i.space_id is null then o.data end) as new_row
      from perch.sync_changes l
     cross join lateral (select l.app_id = $3 and l.table_name = $4 and l.space_id = any ($5)) w (is_ours)
     cross join lateral (select case when w.is_ours then l.data end as data) o
      left join perch.row_images i on w.is_ours and i.space_id = l.space_id and i.seq = l.seq
     where l.position > $1 and l.position <= $2
     order by l.position offset 0$f$
$$;

comment on function perch.shape_entries() is
  'Private. The query for a stretch of the log, as perch.shape_changes_query takes it.';
