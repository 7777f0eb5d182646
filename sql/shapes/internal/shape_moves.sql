-- A stretch of the log in which tables of a filter's sub-selects changed: besides the rows that changed themselves,
-- those that such a change may have moved into the shape or out of it. Each is looked at before all and behind all.
create or replace function perch.shape_moves(
  synced perch.synced_relations, spaces text[], filter jsonb, columns jsonb, before jsonb, after jsonb
)
returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  keys constant text[] := perch.key_columns(synced.relation);
  moved constant record := perch.filter_moved(filter, columns, before, after);
  rows constant text := perch.rows_at(synced, spaces, after);
  changed constant text := perch.net_changes(synced, spaces, before, after);
begin
  return format(
    'select n.position, null::xid8 as txid, n.old_row, n.new_row from (%1$s) n
     union all
     select %2$s, null, to_jsonb(perch_row.*), to_jsonb(perch_row.*)
       from (%3$s) perch_row
      where (%4$s) and perch.row_id(%5$s, to_jsonb(perch_row.*), %6$L) not in (select n.record_id from (%1$s) n)',
    changed, after ->> 'position',
    case when moved.is_safe then rows else format('select * from (%s) t offset 0', rows) end,
    case when moved.is_safe then moved.condition else perch.filter_in_sight(synced, moved.condition) end,
    synced.relation::oid, keys);
end
$$;

comment on function perch.shape_moves(perch.synced_relations, text[], jsonb, jsonb, jsonb, jsonb) is
  'Private. The query for the rows of a shape that changed in a stretch of the log, or may have moved, as entries for perch.shape_changes_query.';
