create or replace function perch.late_statements(noted perch.sequencer)
returns bigint[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
declare
  earlier constant xid8[] := noted.open_txids[:cardinality(noted.open_txids) - 1];
  later constant xid8 := noted.open_txids[cardinality(noted.open_txids)];
begin
  return array(
    select x.ordinal
      from unnest(earlier) o (txid)
     cross join lateral (
       select c.ordinal from perch.captured_changes c
        where c.nth = 1 and c.txid = o.txid and c.ordinal <= noted.bound and c.queued is null offset 0) x
    union all
    select c.ordinal from perch.captured_changes c
     where c.nth = 1 and c.txid >= later and c.ordinal <= noted.bound and c.queued is null);
end
$$;

comment on function perch.late_statements(perch.sequencer) is
  'Private. What transactions that were open when the sequencer noted its bound have left before it; by ordinals.';
