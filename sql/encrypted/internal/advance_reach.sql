-- A peer belongs to the user who first sent a span of it, and only their spans move its reach. Beyond a new span there
-- may be spans that came before what they continue. Once through, by where they end, is enough: one that begins behind
-- the reach, and so is passed over, ends before whatever brings the reach on behind it.
--
-- Where somebody else's snapshot has named a peer before anybody sent a span of it, nobody knows whose it is: anybody
-- can read the name there. It stays nobody's for as long as that snapshot is there, which then nothing takes away.
create or replace function perch.advance_reach(
  entry perch.encrypted_records, peer perch.encrypted_reaches, max_looks integer
)
returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  reached bigint := coalesce(peer.reach, 0);
  further record;
begin
  if coalesce(peer.user_id, entry.user_id) <> entry.user_id then
    return reached;
  end if;
  if peer.peer_id is null and exists (
    select from perch.encrypted_records s
     where s.space_id = entry.space_id and s.app_id = entry.app_id and s.table_name = entry.table_name
       and s.record_id = entry.record_id and s.peer_id is null and s.user_id <> entry.user_id
       and (s.version ->> encode(entry.peer_id, 'hex'))::bigint > 0)
  then
    return 0;
  end if;
  if entry.first <= reached and entry.next > reached then
    reached := entry.next;
    for further in
      select y.first, y.next, y.user_id from perch.encrypted_records y
       where y.space_id = entry.space_id and y.app_id = entry.app_id and y.table_name = entry.table_name
         and y.record_id = entry.record_id and y.peer_id = entry.peer_id and y.next > entry.next
       order by y.next limit max_looks
    loop
      if further.first <= reached and further.user_id = entry.user_id then
        reached := further.next;
      end if;
    end loop;
  end if;
  if peer.peer_id is not null and reached = peer.reach then
    return reached;
  end if;
  insert into perch.encrypted_reaches as x (space_id, app_id, table_name, record_id, peer_id, reach, user_id)
  values (entry.space_id, entry.app_id, entry.table_name, entry.record_id, entry.peer_id, reached, entry.user_id)
  on conflict on constraint encrypted_reaches_pkey do update set reach = excluded.reach;
  return reached;
end
$$;
grant execute on function perch.advance_reach to perch_worker;

comment on function perch.advance_reach(perch.encrypted_records, perch.encrypted_reaches, integer) is
  'Private. Moves the reach of a peer on by a span that was stored. peer: its reach as it is (null: none); max_looks: how many spans beyond it are looked at. Returns the reach.';
