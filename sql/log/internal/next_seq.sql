-- Lock order: a counter, behind everything else (docs/architecture.md, "The order of locks"). The counter's row is
-- locked from here until commit, so that whoever takes the next number of this space has waited for our commit: a
-- reader who sees number n sees every number before it. A rollback gives the number back, so there are no gaps. Hence
-- it is taken last in a transaction, and by one who takes several, in the order of their space ids.
create or replace function perch.next_seq(space_id text, created_at timestamptz)
returns bigint
language sql volatile
set search_path = pg_catalog, pg_temp
as $$
  insert into perch.space_heads as h (space_id, seq, mark)
  values (next_seq.space_id, 1, perch.entry_mark(next_seq.created_at))
  on conflict on constraint space_heads_pkey do update set seq = h.seq + 1, mark = excluded.mark
  returning h.seq
$$;
grant execute on function perch.next_seq to perch_worker;

comment on function perch.next_seq(text, timestamptz) is
  'Private. Takes the next number of a space''s log, for the entry that is created at created_at.';
