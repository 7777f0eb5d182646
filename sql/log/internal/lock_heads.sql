-- Lock order: the counters, by space id, behind everything else (docs/architecture.md, "The order of locks"). See
-- perch.next_seq, of which this is the form for several spaces. They do not move, so seq is not among what is set: that
-- would notify (perch.notify_changes).
create or replace function perch.lock_heads(space_ids text[])
returns void
language sql volatile
set search_path = pg_catalog, pg_temp
as $$
  insert into perch.space_heads as h (space_id, seq)
  select distinct s collate "C", 0 from unnest(space_ids) s order by 1
  on conflict on constraint space_heads_pkey do update set oldest_seq = h.oldest_seq
$$;
grant execute on function perch.lock_heads to perch_worker;

comment on function perch.lock_heads(text[]) is
  'Private. Takes the counters of several spaces, in the order of every writer, without moving them.';
