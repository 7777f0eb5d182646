-- Of a set, so that a query that asks it takes it in as its own part (perch.in_plain_table).
create or replace function perch.waits_from()
returns setof xid8
language sql stable
begin atomic
  select case when s.waits_from <= pg_snapshot_xmax(pg_current_snapshot()) then s.waits_from else '0' end
    from perch.sequencer s where s.only_row;
end;
grant execute on function perch.waits_from to perch_worker;

comment on function perch.waits_from() is
  'Private. Whatever waits for its number was captured by this transaction or a later one (see perch.number_captured): one row.';
