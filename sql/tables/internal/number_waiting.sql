-- Where a worker has promised to (perch.promise_sequencing), it is left to it: a reader would hold the lock of the
-- sequencer, and counters, for as long as its transaction lasts. It waits for nothing, since it may hold counters
-- already; and leaves it where it cannot write, or sees the database as it was.
create or replace function perch.number_waiting()
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  until constant timestamptz := clock_timestamp() + interval '200 milliseconds';
begin
  if exists (select from perch.sequencer s where s.served_until > clock_timestamp())
     or current_setting('transaction_read_only') = 'on'
     or current_setting('transaction_isolation') <> 'read committed' then
    return;
  end if;
  while perch.number_captured(10000, may_wait => false) > 0 and clock_timestamp() < until loop
    null;
  end loop;
end
$$;
grant execute on function perch.number_waiting to perch_worker;

comment on function perch.number_waiting() is
  'Private. Gives what was captured its numbers, while no worker does.';
