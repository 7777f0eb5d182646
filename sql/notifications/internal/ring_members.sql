-- A change of membership is heard on the channel of the log: whoever joined has a past to pull, and whoever serves open
-- connections asks again who may be there. See perch.ring_changes for why the payload carries no more.
create or replace function perch.ring_members()
returns trigger
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  perform pg_notify('perch_changes', jsonb_build_object('v', 1, 'space_id', m.space_id, 'seq', coalesce(h.seq, 0))::text)
     from (select distinct t.space_id from touched t) m
     left join perch.space_heads h on h.space_id = m.space_id;
  return null;
end
$$;

comment on function perch.ring_members() is
  'Private. Trigger of perch.space_members: rings perch_changes for each space whose members changed.';
