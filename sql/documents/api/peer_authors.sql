-- Who used a Loro peer first, and when last: read off what is kept of every update anyway, where its new operations end
-- and who sent it. Asked once for a peer and writer by each process, and then remembered: so it costs what a document's
-- tail and history are long.
create or replace function perch.peer_authors(space_id text, app_id text, table_name text, record_id text, peers text[])
returns table (peer text, user_id text, idle_ms float8)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with written as (
    select h.seq, h.user_id, h.last_at as at, h.ends from perch.document_history h
     where h.space_id = peer_authors.space_id and h.app_id = peer_authors.app_id
       and h.table_name = peer_authors.table_name and h.record_id = peer_authors.record_id
       and h.ends ?| peer_authors.peers
    union all
    select u.seq, u.user_id, u.created_at, u.ends from perch.document_updates u
     where u.space_id = peer_authors.space_id and u.app_id = peer_authors.app_id
       and u.table_name = peer_authors.table_name and u.record_id = peer_authors.record_id
       and u.ends ?| peer_authors.peers
  ), firsts as (
    select p.peer, (array_agg(w.user_id order by w.seq))[1] as user_id
      from unnest(peer_authors.peers) p (peer) join written w on w.ends ? p.peer
     group by p.peer
  )
  select f.peer, f.user_id, perch.age_ms(max(w.at))
    from firsts f join written w on w.ends ? f.peer and w.user_id = f.user_id
   group by f.peer, f.user_id
$$;
grant execute on function perch.peer_authors to perch_worker;

comment on function perch.peer_authors(text, text, text, text, text[]) is
  'For perch_worker: of each of these Loro peers that a document has, the user who wrote under it first, and for how long that user has not (idle_ms). A peer that the document does not have is left out.';
