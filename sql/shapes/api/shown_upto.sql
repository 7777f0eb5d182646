-- Rows of a bulk load are often committed before they have their numbers. Who begins between has them all in the first
-- snapshot, and then finds them all in the log, too: so the log is looked through by its transactions before anything
-- of it is read. Of one transaction a snapshot shows all or nothing.
create or replace function perch.shown_upto(after_position bigint, upto bigint, snapshot pg_snapshot)
returns bigint
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  stop constant bigint := least(upto, after_position + 100000);
begin
  return coalesce((
    select l.position - 1 from perch.sync_changes l
     where l.position > after_position and l.position <= stop
       and pg_visible_in_snapshot(l.txid, snapshot) is not true
     order by l.position limit 1), stop);
end
$$;
grant execute on function perch.shown_upto to perch_worker;

comment on function perch.shown_upto(bigint, bigint, pg_snapshot) is
  'For perch_worker: up to which position of the log, behind one and at most 100,000 further, a snapshot shows all that is there already; upto: how far to look. Example: select perch.shown_upto(after_position => 0, upto => 10, snapshot => pg_current_snapshot());';
