-- Last writer wins, column by column, as for records (perch.merge_changes), with what a table can hold:
-- * a column is written when the change is not earlier than whatever wrote it last (its stamp, perch.row_history): of
--   what one device wrote at one instant, what it sends later is the later;
-- * a row that was deleted later than the change says stays so; nothing of it is kept for a revival, since there is no
--   row to keep it in;
-- * a deletion that is earlier than the latest insertion deletes nothing;
-- * an update inserts nothing: of a row that is not there it is refused, unless it was deleted.
-- A row that is in another space, or out of the user's sight, is told of as one that is not there: an update is
-- refused, a deletion deletes nothing. An insertion cannot help telling, since the key is in use.
--
-- A change without a time is later than all that the row has seen; but for an insertion of a row that is there, which
-- is most likely a repetition: it is older than everything.
create or replace function perch.decide_rows(
  changes perch.change[], writes jsonb[], rows_there jsonb[], spaces_there text[], app_id text, client_id text,
    now timestamptz,
  out nth bigint, out action text, out writes_now jsonb, out stamps jsonb, out at timestamptz
)
returns setof record
language plpgsql stable
set search_path = pg_catalog, pg_temp
-- For one change planning would cost ten times the rest, so one plan is made for all. What is joined is joined by
-- hashes, which for a few costs nothing and for many grows with their number.
set plan_cache_mode = force_generic_plan
set enable_nestloop = off
set jit = off
as $$
#variable_conflict use_column
begin
  return query
  with given as (
    select c.*, c.ordinality as nth, t.written, t.row_there is not null as is_there,
           t.space_there = c.space_id as is_here, h.stamps as seen, h.inserted_at, h.deleted_at
      from unnest(changes) with ordinality c
      join unnest(writes, rows_there, spaces_there) with ordinality t (written, row_there, space_there, nth)
        on t.nth = c.ordinality
      left join perch.row_history(decide_rows.app_id, changes[1].table_name,
             array(select x.space_id from unnest(changes) x), array(select x.record_id from unnest(changes) x)) h
        on h.nth = c.ordinality
  ),
  timed as (
    select g.*, t.at as made_at
      from given g
     cross join lateral (
       select case when not g.timeless then g.at
                   when g.op = 'insert' and g.is_there then '1970-01-01T00:00:00Z'::timestamptz
                   else greatest(decide_rows.now, g.inserted_at, g.deleted_at,
                          (select max(left(s.value, 27))::timestamptz
                            from jsonb_each_text(g.seen) s)) + g.position * interval '1 microsecond' end) t (at)
  ),
  won as (
    select t.*, w.written as won, w.stamps as won_stamps
      from timed t
     cross join lateral (
       select coalesce(json_object_agg(f.key, f.value)::jsonb, '{}'),
              coalesce(json_object_agg(f.key, s.stamp)::jsonb, '{}')
         from jsonb_each(t.written) f
        cross join lateral (select coalesce(t.field_meta ->> f.key, perch.time_text(t.made_at)) || ' ' ||
          coalesce(decide_rows.client_id, '')) s (stamp)
        where s.stamp collate "C" >= coalesce(t.seen ->> f.key, '')
          and (t.deleted_at is null or left(s.stamp, 27) collate "C" > perch.time_text(t.deleted_at))) w (written,
            stamps)
  )
  select w.nth,
         case when w.is_there and w.is_here is not true then case w.op when 'insert' then 'taken'
                when 'update' then 'missing' else 'ignore' end
              when w.op = 'delete' then case when w.is_there and (w.inserted_at > w.made_at) is not true then 'delete'
                else 'bury' end
              when w.is_there then case when w.won = '{}' then 'nothing' else 'update' end
              when w.deleted_at >= w.made_at then 'nothing'
              when w.op = 'insert' then 'insert'
              when w.deleted_at is not null then 'nothing'
              else 'missing' end,
         case when w.is_there then w.won else w.written end, w.won_stamps, w.made_at
    from won w;
end
$$;

comment on function perch.decide_rows(perch.change[], jsonb[], jsonb[], text[], text, text, timestamptz) is
  'Private. What becomes of changes of rows of one synced table, each of another row: insert, update, delete, nothing, bury (nothing but that the deletion is noted), taken (the key is in use by a row that the user may not write), ignore (a deletion of such a row), missing. spaces_there: null also for a row out of sight. The rows that are there are locked.';
