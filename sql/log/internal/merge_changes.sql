-- Last writer wins, so that the order of arrival does not matter:
-- * a field is a register: of all that was ever written to it, the greatest (time, client, value) shows. Values compare
--   as jsonb, strings byte by byte;
-- * of insertions and deletions the latest of each counts; the record is deleted when its deletion is not earlier than
--   its insertion. An update inserts nothing and so revives nothing, but of a record nobody has heard of it makes one;
-- * what was written at or before the deletion is gone; what was written later stays hidden until a later insertion.
--   Each of the three takes a maximum, which is commutative, associative and idempotent; dropping what is not later
--   than the deletion drops only what no later deletion, being later still, would bring back.
--
-- The caller has locked these records. seqs: see perch.write_changes.
create or replace function perch.merge_changes(changes perch.change[], seqs bigint[], app_id text, client_id text,
  author text)
returns void
language sql volatile
set search_path = pg_catalog, pg_temp
as $$
  with incoming as materialized (
    select c.*, seqs[c.ordinality] as seq from unnest(changes) with ordinality c
  ),
  touched as materialized (
    select i.space_id, i.table_name, i.record_id, max(i.seq) as seq, max(i.schema_version) as schema_version,
           max(i.latest) as latest_at,
           max(i.at) filter (where i.op = 'insert') as inserted_at,
           max(i.at) filter (where i.op = 'delete') as deleted_at
      from incoming i
     group by i.space_id, i.table_name, i.record_id
  ),
  stored as materialized (
    select t.space_id, t.table_name, t.record_id, greatest(t.seq, r.seq) as seq,
           case when l.lifted ? 'failed' then r.schema_version
             else greatest(t.schema_version, r.schema_version) end as schema_version,
           greatest(t.latest_at, r.latest_at) as latest_at,
           greatest(t.inserted_at, r.inserted_at) as inserted_at,
           greatest(t.deleted_at, r.deleted_at) as deleted_at,
           coalesce(l.lifted -> 'data', r.data) as data, coalesce(l.lifted -> 'field_meta', r.field_meta) as field_meta,
           perch.stamp(r.written_at, r.written_by) as written
      from touched t
      -- Limit 1: each is looked up by its key, whatever the planner takes the space to hold.
      left join lateral (
        select x.* from perch.stored_records x
         where x.space_id = t.space_id and x.app_id = merge_changes.app_id and x.table_name = t.table_name
           and x.record_id = t.record_id
         limit 1) r on true
      -- A record that was written before its table's current version is lifted now. One that cannot be stays of its
      -- version, with what is written now beside: nothing is lost until the upgrade is mended, and the others of the
      -- push have nothing to do with it.
      cross join lateral (
        select case when r.schema_version < t.schema_version
                     and exists (select from perch.schema_versions v
                       where v.app_id = r.app_id and v.table_name = r.table_name) then
          perch.try_upgrade(
            jsonb_build_object('op', 'insert', 'table', r.table_name, 'id', r.record_id, 'data', r.data, 'field_meta', (
              select coalesce(jsonb_object_agg(k,
                coalesce(r.field_meta ->> k, perch.stamp(r.written_at, r.written_by))), '{}')
                from jsonb_object_keys(r.data) k)),
            r.app_id, r.table_name, r.schema_version, t.schema_version) end
        offset 0
      ) l (lifted)
  ),
  registers as (
    select s.space_id, s.table_name, s.record_id, f.key, f.value, coalesce(s.field_meta ->> f.key, s.written) as stamp
      from stored s cross join lateral jsonb_each(s.data) f
    union all
    select i.space_id, i.table_name, i.record_id, f.key, f.value,
           coalesce(i.field_meta ->> f.key, perch.time_text(i.at)) || ' ' || coalesce(merge_changes.client_id, '')
      from incoming i cross join lateral jsonb_each(i.data) f
  ),
  winners as (
    select distinct on (g.space_id, g.table_name, g.record_id, g.key) g.space_id, g.table_name, g.record_id, g.key,
      g.value, g.stamp
      from registers g
     order by g.space_id, g.table_name, g.record_id, g.key, g.stamp collate "C" desc,
           case jsonb_typeof(g.value) when 'string' then '""' else g.value end desc,
           case jsonb_typeof(g.value) when 'string' then g.value #>> '{}' end collate "C" desc
  ),
  merged as (
    select s.space_id, s.table_name, s.record_id, s.seq, s.schema_version, s.latest_at, s.inserted_at, s.deleted_at,
           coalesce((json_object_agg(w.key, w.value) filter (where w.key is not null))::jsonb, '{}') as data,
           coalesce(jsonb_object_agg(w.key, w.stamp) filter (where w.key is not null), '{}') as field_meta
      from stored s
      left join winners w
        on w.space_id = s.space_id and w.table_name = s.table_name and w.record_id = s.record_id
       and (s.deleted_at is null or left(w.stamp, 27) collate "C" > perch.time_text(s.deleted_at))
     group by s.space_id, s.table_name, s.record_id, s.seq, s.schema_version, s.latest_at, s.inserted_at, s.deleted_at
  )
  insert into perch.stored_records as r
    (space_id, app_id, table_name, record_id, data, field_meta, written_at, written_by, latest_at, inserted_at,
      deleted_at, deleted, seq, schema_version, user_id, size)
  select f.space_id, merge_changes.app_id, f.table_name, f.record_id, f.data, f.field_meta, f.latest_at, null,
    f.latest_at, f.inserted_at, f.deleted_at,
         coalesce(f.deleted_at >= coalesce(f.inserted_at, '-infinity'), false), f.seq, f.schema_version, author,
         perch.record_size(f.data, null, f.field_meta, null)
    from merged f
  on conflict on constraint stored_records_pkey do update
    set data = excluded.data, field_meta = excluded.field_meta, written_at = excluded.written_at,
      written_by = excluded.written_by,
        latest_at = excluded.latest_at, inserted_at = excluded.inserted_at, deleted_at = excluded.deleted_at,
          deleted = excluded.deleted,
        seq = excluded.seq, schema_version = excluded.schema_version, size = excluded.size,
          updated_at = clock_timestamp()
$$;

comment on function perch.merge_changes(perch.change[], bigint[], text, text, text) is
  'Private. Merges changes into their records, whatever is stored and in whatever order they come.';
