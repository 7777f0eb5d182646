-- What a push wrote stands in row_stamps, with the times of the devices. What was written without an op_id (plain SQL,
-- other programs, triggers of the app) stands in the log under the time at which it was captured, or, while it has no
-- number, among what is captured. Both are read by one snapshot (perch.plain_writes): what the sequencer moves from
-- there to here is in the one or the other. What the log has forgotten counts no more.
--
-- The caller has the rows locked, in a statement before: so nobody else writes to them, and what was written is in
-- sight.
create or replace function perch.row_history(app_id text, table_name text, space_ids text[], record_ids text[])
returns table (nth bigint, stamps jsonb, inserted_at timestamptz, deleted_at timestamptz)
language plpgsql stable
set search_path = pg_catalog, pg_temp
-- One plan for all, as in perch.decide_rows; row_stamps has but one index.
set plan_cache_mode = force_generic_plan
set enable_nestloop = off
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_column
begin
  return query
  with asked as (
    select a.space_id, a.record_id, a.nth from unnest(space_ids, record_ids) with ordinality a (space_id, record_id,
      nth)
  ),
  pushed as (
    select a.nth, s.field_meta, s.inserted_at, s.deleted_at
      from asked a
     cross join lateral (
       select x.* from perch.row_stamps x
        where x.space_id = a.space_id and x.app_id = row_history.app_id and x.table_name = row_history.table_name
          and x.record_id = a.record_id
        limit 1) s
  ),
  plain as materialized (
    select p.nth, p.op, p.at,
           case when p.op = 'update' and p.old_row is not null then perch.changed_columns(p.old_row, p.written, null)
             else p.written end as written
      from perch.plain_writes(row_history.app_id, row_history.table_name, space_ids, record_ids) p
  ),
  stamped as (
    select w.nth, w.key, max(w.stamp collate "C") as stamp
      from (
        select p.nth, f.key, f.value from pushed p cross join lateral jsonb_each_text(p.field_meta) f
        union all
        select p.nth, k.key, perch.stamp(p.at, null)
          from plain p cross join lateral jsonb_object_keys(p.written) k (key)) w (nth, key, stamp)
     group by w.nth, w.key
  ),
  lives as (
    select l.nth, max(l.inserted_at) as inserted_at, max(l.deleted_at) as deleted_at
      from (
        select p.nth, p.inserted_at, p.deleted_at from pushed p
        union all
        select p.nth, case p.op when 'insert' then p.at end, case p.op when 'delete' then p.at end from plain p) l
     group by l.nth
  )
  select l.nth, coalesce((select json_object_agg(s.key, s.stamp)::jsonb from stamped s where s.nth = l.nth), '{}'),
    l.inserted_at, l.deleted_at
    from lives l;
end
$$;

comment on function perch.row_history(text, text, text[], text[]) is
  'Private. Of rows of a synced table, by their place in the lists: when and by whom each column was last written, as stamps; the latest insertion and deletion. Nothing of rows that nobody has heard of.';
