-- A change of membership is heard on the channel of the log: whoever joined has a past to pull, and whoever serves open
-- connections asks again who may be there. See perch.notify_changes for why the payload carries no more.
create or replace function perch.notify_members()
returns trigger
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  perform pg_notify('perch_changes', perch.changes_notification(m.space_id, coalesce(h.seq, 0)))
     from (select distinct t.space_id from touched t) m
     left join perch.space_heads h on h.space_id = m.space_id;
  return null;
end
$$;

comment on function perch.notify_members() is
  'Private. Trigger of perch.space_members: notifies on perch_changes for each space whose members changed.';
