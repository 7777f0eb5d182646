create or replace function perch.prune_space(space_id text, young timestamptz, keep_last bigint, max_count bigint)
returns bigint
language sql volatile
set search_path = pg_catalog, pg_temp
as $$
  -- From the oldest on, up to the first that is to be kept: times are not quite in the order of seq.
  with oldest as (
    select c.seq, c.created_at
      from perch.space_heads h
      join lateral (
        select l.seq, l.created_at from perch.sync_changes l
         where l.space_id = h.space_id and l.seq >= h.oldest_seq and l.seq <= h.seq - prune_space.keep_last
         order by l.seq limit prune_space.max_count) c on true
     where h.space_id = prune_space.space_id
  ),
  old as (
    select max(o.seq) as upto from oldest o
     where o.seq < coalesce((select min(k.seq) from oldest k where k.created_at >= prune_space.young),
       9223372036854775807)
  ),
  forgotten as (
    delete from perch.sync_changes c using old
     where c.space_id = prune_space.space_id and c.seq <= old.upto
    returning c.user_id, c.op_id, c.seq, c.created_at, c.position
  ),
  imageless as (
    delete from perch.row_images i using old where i.space_id = prune_space.space_id and i.seq <= old.upto
  ),
  moved as (
    -- A cursor may stand at the last that is forgotten.
    update perch.space_heads h
       set oldest_seq = old.upto + 1,
           pruned_position = greatest(h.pruned_position, (select max(f.position) from forgotten f)),
           before_oldest = (
             select perch.entry_mark(c.created_at)
               from perch.sync_changes c where c.space_id = prune_space.space_id and c.seq = old.upto)
      from old
     where h.space_id = prune_space.space_id and old.upto is not null
  ),
  -- A repeated push is answered from the log; from now on its receipt has the answer.
  answered as (
    update perch.push_receipts r
       set result = jsonb_build_object('space_id', prune_space.space_id, 'seq', f.seq)
      from forgotten f
     where r.space_id = perch.personal_space_id(f.user_id) and r.op_id = f.op_id and r.created_at = f.created_at
       and (r.result is null or r.result -> 'seq' = 'null')
  )
  select count(*) from forgotten
$$;
grant execute on function perch.prune_space to perch_worker;

comment on function perch.prune_space(text, timestamptz, bigint, bigint) is
  'Private. Forgets the oldest entries of a space, at most max_count; the caller holds its counter.';
