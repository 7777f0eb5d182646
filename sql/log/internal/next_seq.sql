-- Lock order: a counter, behind everything else (docs/architecture.md, "The order of locks"). The counter's row is locked from here until commit, so that whoever takes the next number of this space has waited
-- for our commit: a reader who sees number n sees every number before it. A rollback gives the number back, so there are no
-- gaps. Hence it is taken last in a transaction, and by one who takes several, in the order of their space ids.
create or replace function perch.next_seq(space_id text, count bigint default 1)
returns bigint
language sql volatile
set search_path = pg_catalog, pg_temp
as $$
  insert into perch.space_heads as h (space_id, seq)
  values (next_seq.space_id, next_seq.count)
  on conflict on constraint space_heads_pkey do update set seq = h.seq + excluded.seq
  returning h.seq - next_seq.count + 1
$$;

comment on function perch.next_seq(text, bigint) is
  'Private. Takes the next numbers of a space''s log, as many as count, and returns the first.';
