create or replace function perch.log_heads(space_ids text[])
returns table (epoch text, space_id text, seq bigint, mark text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select (select e.epoch::text from perch.log_epoch e), h.space_id, h.seq,
         coalesce(h.mark, case when h.seq < h.oldest_seq then h.before_oldest else e.mark end)
    from perch.space_heads h
    -- The limit keeps that a look at one entry a space, by its key.
    left join lateral (
      select perch.entry_mark(l.created_at) as mark
        from perch.sync_changes l where h.mark is null and l.space_id = h.space_id and l.seq = h.seq limit 1) e on true
   where h.space_id = any (log_heads.space_ids)
$$;
grant execute on function perch.log_heads to perch_worker;

comment on function perch.log_heads(text[]) is
  'For perch_worker: how far the logs of spaces have come, what identifies their last entries, and the epoch. Example: select * from perch.log_heads(space_ids => ''{team}'');';
