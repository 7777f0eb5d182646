-- Queue consumer with SKIP LOCKED: several workers may poll at once, and each takes the rows it gets. See
-- perch.notify_changes for why no notification is lost.
create or replace function perch.notify_deferred(poll_for interval default '0')
returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  notified bigint;
begin
  -- Half of the promise is left when it is renewed, so that the row is not written at every poll.
  if poll_for > '0' then
    update perch.notifier n set polls_until = clock_timestamp() + poll_for
     where n.polls_until < clock_timestamp() + poll_for / 2;
  end if;
  with taken as (
    delete from perch.deferred_notifications o
     where o.ctid = any (array(select r.ctid from perch.deferred_notifications r for update skip locked))
    returning o.space_id, o.seq
  )
  select count(pg_notify('perch_changes', perch.changes_notification(t.space_id, t.seq))::text) into notified
    from (select t.space_id, max(t.seq) as seq from taken t group by t.space_id) t;
  return notified;
end
$$;
grant execute on function perch.notify_deferred to perch_worker;

comment on function perch.notify_deferred(interval) is
  'For perch_worker: notifies on perch_changes for the writers that left it to the workers, once a space; returns for how many spaces. poll_for: promises to poll again within that time, so that writers go on leaving it (at most a minute; 0: no promise). Call it every 20 to 50 ms while it finds something, and by a slow poll always. Example: select perch.notify_deferred(poll_for => ''2 seconds'');';
