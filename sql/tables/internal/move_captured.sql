-- One statement: what leaves the queue is in the log. The caller holds the counters of these spaces.
--
-- The queue is read by its keys alone (lateral, offset 0): statistics of a queue are never true, and whatever the
-- planner makes of them, a batch must not cost what all that waits would. What is joined is as long as the batch, and
-- must not cost its square (enable_nestloop, which makes plans look so dear that they would be compiled).
create or replace function perch.move_captured(space_ids text[], ordinals bigint[], ends bigint[], max_count integer)
returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_nestloop = off
set jit = off
as $$
declare
  moved bigint;
begin
  if space_ids = '{}' then
    return 0;
  end if;
  with line as materialized (
    -- As many transactions of the lines as there is room for, and one at least, the first to have come first: in the
    -- order that they had, whichever line they are in.
    select q.space_id, q.queued
      from (
        select c.space_id, c.queued, sum(count(*)) over (order by c.queued, c.space_id) - count(*) as before
          from perch.captured_changes c
         where move_captured.max_count is not null and c.queued is not null
           and c.space_id = any (move_captured.space_ids)
         group by c.space_id, c.queued) q
     where q.before < move_captured.max_count
  ),
  taken as (
    delete from perch.captured_changes c
     where c.ctid = any (array(
       select x.ctid
         from unnest(move_captured.ordinals) b (ordinal)
        cross join lateral (
          select y.ctid from perch.captured_changes y
           where y.ordinal = b.ordinal and y.queued is null and y.space_id = any (move_captured.space_ids) offset 0) x
       union all
       select x.ctid
         from line l
        cross join lateral (
          select y.ctid from perch.captured_changes y where y.space_id = l.space_id
            and y.queued = l.queued offset 0) x))
    returning c.*
  ),
  changes as (
    select t.*, coalesce(t.queued, b.place) as place, r.columns,
           row_number() over (partition by t.space_id order by coalesce(t.queued, b.place), t.ordinal, t.nth) as number
      from taken t
      left join perch.synced_relations r on r.app_id = t.app_id and r.table_name = t.table_name and t.at is null
      left join unnest(move_captured.ordinals, move_captured.ends) b (ordinal, place) on b.ordinal = t.ordinal
  ),
  heads as (
    update perch.space_heads h set seq = h.seq + n.count, mark = perch.entry_mark(n.last_at)
      from (
        select x.space_id, count(*) as count, (array_agg(x.captured_at order by x.number desc))[1] as last_at
          from changes x group by x.space_id) n
     where h.space_id = n.space_id
    returning h.space_id, h.seq - n.count as base
  ),
  logged as (
    insert into perch.sync_changes
      (space_id, seq, app_id, table_name, record_id, op, data, changed_fields, field_meta, at, deleted_at, user_id,
       client_id, op_id, schema_version, actor, origin, size, created_at, txid, position)
    select o.space_id, o.seq, o.app_id, o.table_name, o.record_id, o.op, o.data, o.changed_fields, o.field_meta,
           coalesce(o.at, o.captured_at), o.deleted_at, o.user_id, o.client_id, o.op_id, coalesce(o.schema_version, 1),
           o.actor, o.origin,
           case when o.at is not null then o.size
                when pg_column_size(o.data) > 500 then nullif(greatest(octet_length(o.data::text), 2000), 2000) end,
           o.captured_at, o.txid, nextval('perch.change_position')
      from (
        select x.*, h.base + x.number as seq,
               case when x.at is not null then x.new_row
                    when x.op = 'delete' then null
                    when x.op = 'insert' then case when x.columns is null then x.new_row
                      else perch.listed_columns(x.new_row, x.columns) end
                    else perch.changed_columns(x.old_row, x.new_row, x.columns) end as data
          from changes x join heads h on h.space_id = x.space_id
         order by x.place, x.ordinal, x.nth offset 0) o
  ),
  imaged as (
    insert into perch.row_images (space_id, seq, old_row, new_row)
    select x.space_id, h.base + x.number, x.old_row, x.new_row
      from changes x join heads h on h.space_id = x.space_id
     where x.old_row is not null or x.columns is not null
  )
  select count(*) into moved from taken;
  return moved;
end
$$;

comment on function perch.move_captured(text[], bigint[], bigint[], integer) is
  'Private. Moves captured changes of these spaces into the log: those of these statements, or, with max_count, those that wait in the lines of the spaces. Returns how many.';
