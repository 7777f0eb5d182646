-- One statement: what leaves the queue is in the log. The caller holds the counters of these spaces.
--
-- The changes are put in order by what is narrow of them, and each row of the queue is read where its entry is written:
-- it is wide, and every sort and every WITH would copy it. Nobody but a sequencer takes rows out of the queue, one at a
-- time, save who ends the sync of a table: where that came between, this begins anew.
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
  found bigint;
  moved bigint;
begin
  if space_ids = '{}' then
    return 0;
  end if;
  with line as materialized (
    -- As many transactions of the lines as there is room for, and one at least, the first to have come first: in the
    -- order that they had, and each with all that it has in these spaces. Of a row that went from one to another the
    -- insertion is in this batch if the deletion is.
    select q.space_id, q.queued
      from (
        select c.space_id, c.queued,
               sum(count(*)) over (order by c.queued) - sum(count(*)) over (partition by c.queued) as before
          from perch.captured_changes c
         where move_captured.max_count is not null and c.queued is not null
           and c.space_id = any (move_captured.space_ids)
         group by c.space_id, c.queued) q
     where q.before < move_captured.max_count
  ),
  changes as materialized (
    select x.*, r.columns, row_number() over w as number, lead(x.ordinal) over w is null as is_last
      from (
        select c.*, b.place
          from unnest(move_captured.ordinals, move_captured.ends) b (ordinal, place)
         cross join lateral (
           select y.ctid as spot, y.ordinal, y.nth, y.space_id, y.op, y.captured_at,
                  case when y.at is null then y.app_id end as app_id, y.table_name
             from perch.captured_changes y
            where y.ordinal = b.ordinal and y.queued is null and y.space_id = any (move_captured.space_ids) offset 0) c
        union all
        select c.*, l.queued
          from line l
         cross join lateral (
           select y.ctid, y.ordinal, y.nth, y.space_id, y.op, y.captured_at,
                  case when y.at is null then y.app_id end, y.table_name
             from perch.captured_changes y where y.space_id = l.space_id and y.queued = l.queued offset 0) c) x
      left join perch.synced_relations r on r.app_id = x.app_id and r.table_name = x.table_name
    window w as (partition by x.space_id order by x.place, x.ordinal, x.nth)
  ),
  heads as (
    update perch.space_heads h set seq = h.seq + x.number, mark = perch.entry_mark(x.captured_at)
      from changes x
     where x.is_last and h.space_id = x.space_id
    returning h.space_id, h.seq - x.number as base
  ),
  logged as (
    insert into perch.sync_changes
      (space_id, seq, app_id, table_name, record_id, op, data, changed_fields, field_meta, at, deleted_at, user_id,
       client_id, op_id, schema_version, actor, origin, size, created_at, txid, position)
    select o.space_id, o.seq, o.app_id, o.table_name, o.record_id, o.op, o.data, o.changed_fields, o.field_meta,
           coalesce(o.at, o.captured_at), o.deleted_at, o.user_id, o.client_id, o.op_id, coalesce(o.schema_version, 1),
           o.actor, o.origin,
           case when o.at is not null then o.size
                when pg_column_size('{}'::jsonb || o.data) <= 500
                  then nullif(greatest(octet_length(o.data::text), 2000), 2000)
                else nullif(greatest(perch.text_size(o.data), 2000), 2000) end,
           o.captured_at, o.txid, nextval('perch.change_position')
      from (
        select c.*, x.seq,
               case when c.at is not null then c.new_row
                    when c.op = 'delete' then null
                    when c.op = 'insert' then case when x.columns is null then c.new_row
                      else perch.listed_columns(c.new_row, x.columns) end
                    else perch.changed_columns(c.old_row, c.new_row, x.columns) end as data
          from (
            select x.spot, x.columns, h.base + x.number as seq
              from changes x join heads h on h.space_id = x.space_id
             order by x.place, x.ordinal, x.nth offset 0) x
         cross join lateral (select y.* from perch.captured_changes y where y.ctid = x.spot offset 0) c
        offset 0) o
  ),
  imaged as (
    insert into perch.row_images (space_id, seq, old_row, new_row)
    select x.space_id, h.base + x.number, c.old_row, c.new_row
      from changes x
      join heads h on h.space_id = x.space_id
     cross join lateral (
       select y.old_row, y.new_row from perch.captured_changes y where y.ctid = x.spot offset 0) c
     where (x.op <> 'insert' or x.columns is not null) and (c.old_row is not null or x.columns is not null)
  ),
  gone as (
    delete from perch.captured_changes c where c.ctid = any (array(select x.spot from changes x))
    returning 1
  )
  select (select count(*) from changes), (select count(*) from gone) into found, moved;
  if moved <> found then
    raise exception 'the sync of a table ended meanwhile'
      using errcode = 'serialization_failure', hint = 'Ask again, in a new transaction.';
  end if;
  return moved;
end
$$;

comment on function perch.move_captured(text[], bigint[], bigint[], integer) is
  'Private. Moves captured changes of these spaces into the log: those of these statements, or, with max_count, those that wait in the lines of the spaces. Returns how many. Errors: 40001.';
