-- A doorbell, not the truth: the payload names the space and a number, never content, because channels are not under RLS.
-- Postgres delivers it at commit, after which everything up to that number can be read.
create or replace function perch.ring_changes()
returns trigger
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  perform pg_notify('perch_changes', jsonb_build_object('v', 1, 'space_id', a.space_id, 'seq', a.seq)::text)
     from (select n.space_id, max(n.seq) as seq from added n group by n.space_id) a;
  return null;
end
$$;

comment on function perch.ring_changes() is
  'Private. Trigger of the log: rings perch_changes once for each space that the statement added to.';

create or replace trigger ring after insert on perch.sync_changes
  referencing new table as added for each statement execute function perch.ring_changes();
