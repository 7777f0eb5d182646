-- See perch.ring_changes for why no ring is lost. Several workers may look at once: each takes the rows it gets.
create or replace function perch.look(watch_for interval default '0')
returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  rung bigint;
begin
  -- Half of the promise is left when it is renewed, so that the row is not written at every look.
  if watch_for > '0' then
    update perch.watch w set until = clock_timestamp() + watch_for where w.until < clock_timestamp() + watch_for / 2;
  end if;
  with taken as (
    delete from perch.owed_rings o
     where o.ctid = any (array(select r.ctid from perch.owed_rings r for update skip locked))
    returning o.space_id, o.seq
  )
  select count(pg_notify('perch_changes', jsonb_build_object('v', 1, 'space_id', t.space_id, 'seq', t.seq)::text)::text) into rung
    from (select t.space_id, max(t.seq) as seq from taken t group by t.space_id) t;
  return rung;
end
$$;

comment on function perch.look(interval) is
  'For perch_worker: rings perch_changes for the writers that left it to the workers, once a space; returns for how many spaces. watch_for: promises to look again within that time, so that writers go on leaving it (at most a minute; 0: no promise). Call it every 20 to 50 ms while it finds something, and by a slow poll always. Example: select perch.look(watch_for => ''2 seconds'');';
