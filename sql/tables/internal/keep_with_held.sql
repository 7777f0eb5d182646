-- A row that moved is deleted in one space and inserted in another. Whoever reads both by position must not be given
-- the insertion first: the deletion would take the row away again. So a space that has an insertion of a row whose
-- deletion elsewhere is held back is held back, too; and so on, until there is no other.
--
-- What is inserted and deleted again in one space is in order there; and what was inserted before that deletion need
-- not wait for it. Of one row, statements and lines are in the order of its locks.
create or replace function perch.keep_with_held(free text[], ordinals bigint[])
returns text[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
declare
  more text[];
begin
  loop
    with batch as materialized (
      select c.space_id, c.app_id, c.table_name, c.record_id, c.op, c.ordinal
        from unnest(keep_with_held.ordinals) b (ordinal)
       cross join lateral (
         select x.* from perch.captured_changes x
          where x.ordinal = b.ordinal and x.queued is null and x.op in ('insert', 'delete') offset 0) c
    ),
    inserted as materialized (
      select b.*, null::bigint as queued from batch b where b.op = 'insert' and b.space_id = any (free)
      union all
      select c.space_id, c.app_id, c.table_name, c.record_id, c.op, c.ordinal, c.queued
        from perch.captured_changes c where c.queued is not null and c.op = 'insert' and c.space_id = any (free)
    )
    select array_agg(distinct i.space_id) into more
      from inserted i
     where exists (
             select from perch.captured_changes d
              where d.queued is not null and d.op = 'delete' and d.app_id = i.app_id and d.table_name = i.table_name
                and hashtextextended(d.record_id, 0) = hashtextextended(i.record_id, 0)
                and d.record_id = i.record_id and d.space_id <> all (free)
                and (i.queued is null or d.queued <= i.queued))
        or i.queued is null and exists (
             select from batch d
              where d.op = 'delete' and d.app_id = i.app_id and d.table_name = i.table_name
                and d.record_id = i.record_id and d.space_id <> all (free) and d.ordinal <= i.ordinal);
    exit when more is null;
    free := array(select f from unnest(free) f where f <> all (more));
  end loop;
  return free;
end
$$;

comment on function perch.keep_with_held(text[], bigint[]) is
  'Private. Of the spaces whose counters were taken, those whose changes may be given numbers before what is held back in others, of these statements and of the lines.';
