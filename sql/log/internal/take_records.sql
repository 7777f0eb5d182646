-- Lock order: the records by key (docs/architecture.md, "The order of locks").
--
-- Of each record the first change is taken, an insertion rather than another. Where it inserts, or the record is not
-- there, it makes the record; where that is there all the same, it is locked (ON CONFLICT DO UPDATE locks what it does
-- not update). Any other change only locks its record: what is given to INSERT must be a whole one, for the constraints
-- and triggers of the app. As a rule a push has changes of one kind, and all of it is one statement; else it is one for
-- each stretch of a kind, so that the order is that of the keys.
create or replace function perch.take_records(
  changes perch.change[], seqs bigint[], app_id text, client_id text, author text, now timestamptz,
  out left_over integer[], out largest integer
)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  suffix constant text := ' ' || coalesce(client_id, '');
  stretch record;
  made record;
begin
  left_over := array(select generate_series(1, cardinality(changes)));
  for stretch in
    with firsts as materialized (
      select distinct on (c.space_id, c.table_name, c.record_id)
             c.space_id, c.table_name, c.record_id, c.ordinality as place,
             -- Not as EXISTS, for which Postgres may read all records of the spaces into a hash table.
             c.op = 'insert' or (
               select true from perch.stored_records r
                where r.space_id = c.space_id and r.app_id = take_records.app_id
                  and r.table_name = c.table_name and r.record_id = c.record_id) is null as makes
        from unnest(changes) with ordinality c
       order by c.space_id, c.table_name, c.record_id, c.op <> 'insert', c.ordinality
    ),
    placed as (
      select f.makes, f.place, row_number() over w as nth,
             row_number() over w - row_number() over (partition by f.makes
               order by f.space_id, f.table_name, f.record_id) as run
        from firsts f window w as (order by f.space_id, f.table_name, f.record_id)
    )
    select p.makes, array_agg(p.place order by p.nth) as places
      from placed p group by p.makes, p.run order by min(p.nth)
  loop
    if stretch.makes then
      with added as (
        insert into perch.stored_records as r
          (space_id, app_id, table_name, record_id, data, field_meta, written_at, written_by, latest_at, inserted_at,
           deleted_at, deleted, seq, schema_version, user_id, created_at, updated_at, size)
        select c.space_id, take_records.app_id, c.table_name, c.record_id, coalesce(c.data, '{}'), m.stamps,
               c.at, take_records.client_id, c.latest, case when c.op = 'insert' then c.at end,
               case when c.op = 'delete' then c.at end, c.op = 'delete', seqs[c.ordinality], c.schema_version, author,
               take_records.now, take_records.now,
               perch.record_size(c.data, null, m.stamps, octet_length(take_records.client_id))
          from unnest(changes) with ordinality c
          join unnest(stretch.places) p (place) on p.place = c.ordinality
         cross join lateral (
           select case when c.field_meta is null then '{}'
                       else (select jsonb_object_agg(f.key, f.value || suffix)
                               from jsonb_each_text(c.field_meta) f) end) m (stamps)
         order by c.space_id, c.table_name, c.record_id
        on conflict on constraint stored_records_pkey do update set seq = r.seq where false
        returning r.space_id, r.table_name, r.record_id, r.size
      )
      select array_agg(c.ordinality) as places, max(a.size) as largest into made
        from added a
        join unnest(changes) with ordinality c using (space_id, table_name, record_id)
        join unnest(stretch.places) p (place) on p.place = c.ordinality;
      left_over := array(select unnest(left_over) except select unnest(made.places) order by 1);
      largest := greatest(largest, made.largest);
    else
      perform from (
          select c.space_id, c.table_name, c.record_id
            from unnest(changes) with ordinality c join unnest(stretch.places) p (place) on p.place = c.ordinality
           order by c.space_id, c.table_name, c.record_id) k
       cross join lateral (
          select from perch.stored_records r
           where r.space_id = k.space_id and r.app_id = take_records.app_id
             and r.table_name = k.table_name and r.record_id = k.record_id
           limit 1 for no key update) locked;
    end if;
  end loop;
end
$$;

comment on function perch.take_records(perch.change[], bigint[], text, text, text, timestamptz) is
  'Private. Makes the records that are not there, and locks the others. Gives the places of the changes that are not in their records yet, and the greatest size of what was made. seqs: see perch.write_changes.';
