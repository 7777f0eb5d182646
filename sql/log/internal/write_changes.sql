-- Lock order: the records by key, those that are made and those that are there alike (docs/architecture.md, "The order
-- of locks").
--
-- In three steps, each taking what the one before has left, since most changes need the least: a record that is new;
-- one that has seen nothing as late as the change, where it wins without looking further; all others. The steps may
-- take the changes of one record out of their order, because merging does not depend on it.
--
-- Nobody else writes these records from the first step until commit: it makes, or locks, them all. So what the
-- statements behind it read is the latest.
--
-- seq: the entry of a change has no number yet, and may get it late. What is written is the one that it would get if no
-- other transaction came between: its number is that or a greater one, and whatever changed this record with a number
-- up to it is in it.
create or replace function perch.write_changes(
  inout changes perch.change[], app_id text, client_id text, author text, now timestamptz, out were_merged boolean
)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  given constant perch.change[] := changes;
  suffix constant text := ' ' || coalesce(client_id, '');
  max_bytes constant bigint := perch.setting('max_record_bytes', 16777216);
  has_timeless constant boolean := exists (select from unnest(changes) c where c.timeless);
  -- Looked up one by one: a join with ten thousand spaces would read them all, for a hundred changes.
  seqs constant bigint[] := array(
    select coalesce((select h.seq from perch.space_heads h where h.space_id = c.space_id), 0)
           + row_number() over (partition by c.space_id order by c.position)
      from unnest(changes) with ordinality c
     order by c.ordinality);
  left_over integer[];
  timed perch.change[];
  largest integer;
  larger integer;
begin
  if has_timeless then
    changes := perch.time_changes(given, app_id, now);
  end if;

  -- 1. New records; those that are there are locked.
  select t.left_over, t.largest into left_over, largest
    from perch.take_records(changes, seqs, write_changes.app_id, write_changes.client_id, author,
      write_changes.now) t;

  if left_over <> '{}' then
    -- When a change was made that does not say so depends on what its record had seen, which is known now where it was
    -- there.
    if has_timeless then
      timed := perch.time_changes(given, app_id, now);
      changes := array(
        select case when x.was_there then timed[x.ordinality] else changes[x.ordinality] end
          from (
            select c.ordinality, bool_and(l.place is not null)
                     over (partition by c.space_id, c.table_name, c.record_id) as was_there
              from unnest(changes) with ordinality c left join unnest(left_over) l (place) on l.place = c.ordinality) x
         order by x.ordinality);
    end if;

    -- 2. Records that have seen nothing as late.
    with waiting as (
      select c.* from unnest(changes) with ordinality c where c.ordinality = any (left_over)
    ),
    won as (
      update perch.stored_records r
         set data = r.data || w.data, field_meta = r.field_meta || m.stamps,
             size = perch.record_size(r.data || w.data, null, r.field_meta || m.stamps, octet_length(r.written_by)),
             latest_at = w.latest, inserted_at = case when w.op = 'insert' then w.at else r.inserted_at end,
             seq = greatest(r.seq, seqs[w.ordinality]), updated_at = write_changes.now
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
     cross join lateral (
       select r.size from perch.stored_records r
        where r.space_id = changes[n].space_id and r.app_id = write_changes.app_id
          and r.table_name = changes[n].table_name and r.record_id = changes[n].record_id
        limit 1) x;
    largest := greatest(largest, larger);
  end if;
  were_merged := left_over <> '{}' or exists (select from unnest(changes) c where c.op = 'delete');

  -- All of it is undone then, and whoever called tries each for itself (perch.write_each).
  if largest > max_bytes then
    perform perch.fail('PE413', format('the record would be longer than %s bytes', max_bytes),
      jsonb_build_object('limit', 'max_record_bytes', 'max', max_bytes, 'got', largest),
      'Keep what grows in records of its own, or in a document.');
  end if;
end
$$;

comment on function perch.write_changes(perch.change[], text, text, text, timestamptz) is
  'Private. Merges changes into their records. Gives them with the times at which they were made, and whether any had to be merged into a record that had seen later ones; without, none of their records was ever deleted.';
