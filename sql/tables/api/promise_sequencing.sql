-- A worker calls it with every poll, and again and again while it finds something. Half of a promise is left when it is
-- renewed, so that the row, which every writer reads, is seldom written; and skipped while a sequencer has it, which
-- serves as well.
create or replace function perch.promise_sequencing(serve_for interval, watch_for interval default '0')
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  update perch.sequencer s
     set served_until = greatest(s.served_until, clock_timestamp() + promise_sequencing.serve_for),
         watched_until = greatest(s.watched_until, clock_timestamp() + promise_sequencing.watch_for)
   where s.only_row = (select l.only_row from perch.sequencer l for no key update skip locked)
     and (s.served_until < clock_timestamp() + promise_sequencing.serve_for / 2
          or s.watched_until < clock_timestamp() + promise_sequencing.watch_for / 2
            and promise_sequencing.watch_for > '0');
end
$$;
grant execute on function perch.promise_sequencing to perch_worker;

comment on function perch.promise_sequencing(interval, interval) is
  'For perch_worker: promises to call perch.sequence_changes within serve_for, so that readers leave it to the worker; and, with watch_for, to go on calling it by itself for so long, so that writers need not notify. Example: select perch.promise_sequencing(serve_for => ''5 seconds'', watch_for => ''2 seconds'');';
