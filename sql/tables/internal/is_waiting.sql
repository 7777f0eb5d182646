-- Every push asks. What was given its number stays in the indexes until it is vacuumed away, and a busy space has
-- hundreds of thousands of that: so it is looked for from the oldest transaction that may have left anything, the
-- latest first. By the index, also where the plan was made while the queue was empty. (A plan that cannot do without
-- what is off looks so dear that Postgres 15 would compile it.)
create or replace function perch.is_waiting(space_id text)
returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
declare
  since constant xid8 := perch.waits_from();
begin
  return (select c.txid from perch.captured_changes c
           where c.space_id = is_waiting.space_id and c.txid >= since order by c.txid desc limit 1) is not null;
end
$$;
grant execute on function perch.is_waiting to perch_worker;

comment on function perch.is_waiting(text) is 'Private. Whether changes of a space wait for their numbers.';
