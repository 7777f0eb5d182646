-- In three steps, each taking what the one before has left, since most changes need the least: a record that is new;
-- one that has seen nothing as late as the change, where it wins without looking further; all others. The steps may
-- take the changes of one record out of their order, because merging does not depend on it.
--
-- The caller holds the counters of all spaces concerned, taken in an earlier statement: so what is read here is the
-- latest state of the records, and nobody else writes them.
create or replace function perch.write_changes(
  changes perch.change[], seqs bigint[], app_id text, client_id text, author text, now timestamptz
)
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  suffix constant text := ' ' || coalesce(client_id, '');
  count constant integer := cardinality(changes);
  max_bytes constant bigint := perch.setting('max_record_bytes', 16777216);
  left_over integer[] := array(select generate_series(1, count));
  inserted integer;
  largest integer;
  larger integer;
begin
  if exists (select from unnest(changes) c where c.timeless) then
    changes := perch.time_changes(changes, app_id, now);
  end if;

  -- 1. New records.
  if exists (select from unnest(changes) c where c.op = 'insert') then
    with made as (
      insert into perch.stored_records as r
        (space_id, app_id, table_name, record_id, data, field_meta, written_at, written_by, latest_at, inserted_at,
         seq, schema_version, user_id, created_at, updated_at, size)
      select c.space_id, write_changes.app_id, c.table_name, c.record_id, c.data, m.stamps,
             c.at, write_changes.client_id, c.latest, c.at, seqs[c.ordinality], c.schema_version, author,
             write_changes.now, write_changes.now,
             perch.record_size(c.data, null, m.stamps, octet_length(write_changes.client_id))
        from unnest(changes) with ordinality c
       cross join lateral (
         select case when c.field_meta is null then '{}'
                     else (select jsonb_object_agg(f.key, f.value || suffix)
                             from jsonb_each_text(c.field_meta) f) end) m (stamps)
       where c.op = 'insert'
      on conflict on constraint stored_records_pkey do nothing
      returning r.size
    )
    select count(*), max(m.size) into inserted, largest from made m;
    -- All were new, as is usual for a batch of insertions.
    if inserted = count then
      left_over := '{}';
    else
      left_over := array(
        select c.ordinality
          from unnest(changes) with ordinality c
          left join perch.stored_records r
            on r.space_id = c.space_id and r.app_id = write_changes.app_id
           and r.table_name = c.table_name and r.record_id = c.record_id
           and r.seq = seqs[c.ordinality]
         where r.space_id is null);
    end if;
  end if;

  -- 2. Records that have seen nothing as late.
  if left_over <> '{}' then
    with waiting as (
      select c.*, seqs[c.ordinality] as seq
        from unnest(changes) with ordinality c
       where c.ordinality = any (left_over)
    ),
    won as (
      update perch.stored_records r
         set data = r.data || w.data, field_meta = r.field_meta || m.stamps,
             size = perch.record_size(r.data || w.data, null, r.field_meta || m.stamps, octet_length(r.written_by)),
             latest_at = w.latest, inserted_at = case when w.op = 'insert' then w.at else r.inserted_at end,
             seq = greatest(r.seq, w.seq), updated_at = write_changes.now
        from waiting w
       cross join lateral (
         select coalesce(jsonb_object_agg(k, coalesce(w.field_meta ->> k, perch.time_text(w.at)) || suffix), '{}')
           from jsonb_object_keys(w.data) k) m (stamps)
       -- The limit keeps the search for each record a search by its key: joined freely, a table without fresh
       -- statistics is read once over, the whole space, for every change.
       cross join lateral (
         select x.ctid as place from perch.stored_records x
          where x.space_id = w.space_id and x.app_id = write_changes.app_id
            and x.table_name = w.table_name and x.record_id = w.record_id
            and x.latest_at < w.earliest and x.deleted_at is null and x.schema_version = w.schema_version
          limit 1) k
       where r.ctid = k.place and w.op <> 'delete'
      returning w.ordinality, r.size
    )
    select array(select unnest(left_over) except select w.ordinality from won w order by 1),
           (select max(w.size) from won w)
      into left_over, larger;
    largest := greatest(largest, larger);
  end if;

  -- 3. All others.
  if left_over <> '{}' then
    perform perch.merge_changes(array(select changes[n] from unnest(left_over) n),
      array(select seqs[n] from unnest(left_over) n), write_changes.app_id, write_changes.client_id, author);
    select max(x.size) into larger
      from unnest(left_over) n
      join perch.stored_records x
        on x.space_id = changes[n].space_id and x.app_id = write_changes.app_id
       and x.table_name = changes[n].table_name and x.record_id = changes[n].record_id;
    largest := greatest(largest, larger);
  end if;
  perform perch.log_changes(changes, seqs, write_changes.app_id, write_changes.client_id, author, write_changes.now,
    were_merged => left_over <> '{}');

  -- All of it is undone then, and whoever called tries each for itself (perch.write_each).
  if largest > max_bytes then
    perform perch.fail('PE413', format('the record would be longer than %s bytes', max_bytes),
      jsonb_build_object('limit', 'max_record_bytes', 'max', max_bytes, 'got', largest),
      'Keep what grows in records of its own, or in a document.');
  end if;
end
$$;

comment on function perch.write_changes(perch.change[], bigint[], text, text, text, timestamptz) is
  'Private. Merges numbered changes into their records and logs them.';
