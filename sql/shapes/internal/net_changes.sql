-- Of each row that changed in a stretch of the log: what it was before, and what it is behind it. A row that went from
-- one space to another has an entry in both: it is in one of them before, and in one of them afterwards.
--
-- before, after: {"position", "snapshot"}; what the snapshot shows is not part of the stretch.
create or replace function perch.net_changes(
  synced perch.synced_relations, spaces text[], before jsonb, after jsonb
)
returns text
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
  select format(
    $f$select r.record_id, max(r.position) as position,
              (array_agg(r.old_row) filter (where r.old_row is not null))[1] as old_row,
              (array_agg(r.new_row) filter (where r.new_row is not null))[1] as new_row
         from (
           select l.space_id, l.record_id, max(l.position) as position,
                  (array_agg(i.old_row order by l.position))[1] as old_row,
                  (array_agg(coalesce(i.new_row, case when i.space_id is null then l.data end)
                     order by l.position desc))[1] as new_row
             from perch.sync_changes l
             left join perch.row_images i on i.space_id = l.space_id and i.seq = l.seq
            where l.position > %s and l.position <= %s and l.app_id = %L and l.table_name = %L
              and l.space_id = any (%L) and not pg_visible_in_snapshot(l.txid, %L)
            group by l.space_id, l.record_id) r
        group by r.record_id$f$,
    (before ->> 'position')::bigint, (after ->> 'position')::bigint, synced.app_id, synced.table_name, spaces,
    coalesce(after ->> 'snapshot', '3:3:'))
$$;

comment on function perch.net_changes(perch.synced_relations, text[], jsonb, jsonb) is
  'Private. The query for what became of the rows of a synced table in a stretch of the log: record_id, position, old_row and new_row.';
