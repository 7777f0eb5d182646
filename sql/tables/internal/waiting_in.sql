-- Every push asks. What was given its number stays in the indexes until it is vacuumed away, and a busy space has
-- hundreds of thousands of that: so it is looked for from the oldest transaction that may have left anything, the
-- latest first.
--
-- Of a set, so that a query that asks it takes it in as its own part (perch.in_plain_table). Whoever asks has
-- enable_seqscan off, so that it is by the index also where the plan was made while the queue was empty; and jit, as a
-- plan that cannot do without what is off looks so dear that Postgres 15 would compile it.
create or replace function perch.waiting_in(space_id text)
returns setof boolean
language sql stable
begin atomic
  select true from perch.captured_changes c
   where c.space_id = waiting_in.space_id and c.txid >= (select w from perch.waits_from() w)
   order by c.txid desc limit 1;
end;
grant execute on function perch.waiting_in to perch_worker;

comment on function perch.waiting_in(text) is
  'Private. One row where changes of a space wait for their numbers; none where nothing waits.';
