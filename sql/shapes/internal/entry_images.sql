-- One after the other, each by its index, whatever the planner expects of how many there are.
create or replace function perch.entry_images(space_ids text[], seqs bigint[])
returns table ("position" bigint, old_row jsonb, new_row jsonb)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select l.position, i.old_row, coalesce(i.new_row, case when i.space_id is null then l.data end)
    from unnest(space_ids, seqs) a (space_id, seq)
   cross join lateral (
     select x.position, x.data from perch.sync_changes x where x.space_id = a.space_id and x.seq = a.seq limit 1) l
    left join lateral (
      select r.* from perch.row_images r where r.space_id = a.space_id and r.seq = a.seq limit 1) i on true
$$;
grant execute on function perch.entry_images to perch_worker;

comment on function perch.entry_images(text[], bigint[]) is
  'Private. Of entries of the log about rows of synced tables their positions, and the rows before and after (null: there was none). With the rights of whoever calls.';
