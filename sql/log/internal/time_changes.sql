-- When was a change made that does not say? Now: that is after everything this record has seen, be the clock of the
-- server as coarse, or that of another client as fast, as it may; and changes of one push in their order. With one
-- exception: to insert a record that is there. Most likely that is a repetition, and the record was edited since. So it
-- counts as older than every edit: it adds the fields that the record does not have, and overwrites none.
create or replace function perch.time_changes(changes perch.change[], app_id text, now timestamptz)
returns perch.change[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  timed record;
begin
  for timed in
    with incoming as (
      select c.ordinality as nth, c.space_id, c.table_name, c.record_id, c.position, c.op, c.timeless,
             lag(c.op) over same_record as previous,
             max(c.latest) filter (where not c.timeless)
               over (partition by c.space_id, c.table_name, c.record_id) as latest
        from unnest(changes) with ordinality c
      window same_record as (partition by c.space_id, c.table_name, c.record_id order by c.position)
    )
    select i.nth,
           case when i.op = 'insert' and coalesce(i.previous <> 'delete', r.space_id is not null and not r.deleted)
                then '1970-01-01T00:00:00Z'::timestamptz
                else greatest(time_changes.now, r.latest_at, i.latest) + i.position * interval '1 microsecond'
           end as at
      from incoming i
      -- Limit 1: joined as a whole, all records of the space would be read where the planner takes them for few.
      left join lateral (
        select x.space_id, x.deleted, x.latest_at from perch.stored_records x
         where x.space_id = i.space_id and x.app_id = time_changes.app_id
           and x.table_name = i.table_name and x.record_id = i.record_id
         limit 1) r on true
     where i.timeless
  loop
    changes[timed.nth].at := timed.at;
    changes[timed.nth].earliest := least(timed.at, changes[timed.nth].earliest);
    changes[timed.nth].latest := greatest(timed.at, changes[timed.nth].latest);
  end loop;
  return changes;
end
$$;

comment on function perch.time_changes(perch.change[], text, timestamptz) is
  'Private. Decides when changes that carry no time were made. The caller holds the counters of their spaces.';
