-- Who used a Loro peer first, and when last: read off what is kept of every update anyway, where its new operations end
-- and who sent it. Asked once for a peer and writer by each process, and then remembered: so it costs what a document's
-- tail and history are long. It must not cost that for each of the peers, for an update names as many as its sender
-- likes: of more than a few, each of the rows is taken apart once.
create or replace function perch.peer_authors(space_id text, app_id text, table_name text, record_id text, peers text[])
returns table (peer text, user_id text, idle_ms float8)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with kept as (
    select h.seq, h.user_id, h.last_at as at, h.ends from perch.document_history h
     where h.space_id = peer_authors.space_id and h.app_id = peer_authors.app_id
       and h.table_name = peer_authors.table_name and h.record_id = peer_authors.record_id
       and (cardinality(peer_authors.peers) > 10 or h.ends ?| peer_authors.peers)
    union all
    select u.seq, u.user_id, u.created_at, u.ends from perch.document_updates u
     where u.space_id = peer_authors.space_id and u.app_id = peer_authors.app_id
       and u.table_name = peer_authors.table_name and u.record_id = peer_authors.record_id
       and (cardinality(peer_authors.peers) > 10 or u.ends ?| peer_authors.peers)
  ), written as (
    select e.peer, k.seq, k.user_id, k.at
      from kept k cross join lateral jsonb_object_keys(k.ends) e (peer)
     where e.peer in (select unnest(peer_authors.peers))
  ), firsts as (
    select distinct on (w.peer) w.peer, w.user_id from written w order by w.peer, w.seq
  )
  select f.peer, f.user_id, perch.age_ms(max(w.at))
    from firsts f join written w on w.peer = f.peer and w.user_id = f.user_id
   group by f.peer, f.user_id
$$;
grant execute on function perch.peer_authors to perch_worker;

comment on function perch.peer_authors(text, text, text, text, text[]) is
  'For perch_worker: of each of these Loro peers that a document has, the user who wrote under it first, and for how long that user has not (idle_ms). A peer that the document does not have is left out.';
