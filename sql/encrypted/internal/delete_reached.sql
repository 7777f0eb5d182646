-- A snapshot goes when nothing is left that it has and the spans have not. It may have come to that only where a peer
-- came to what it says of that peer, so the others are not looked at; and the reaches of those that are left are read
-- once, for all of them.
create or replace function perch.delete_reached(
  document perch.encrypted_documents, peers text[], reaches_before bigint[], reaches bigint[],
  out bytes bigint, out positions bigint[]
)
language sql volatile
set search_path = pg_catalog, pg_temp
as $$
  with touched as materialized (
    select x.seq, x.version
      from (
        select s.seq, '{}'::jsonb || s.version as version from perch.encrypted_records s
         where s.space_id = document.space_id and s.app_id = document.app_id and s.table_name = document.table_name
           and s.record_id = document.record_id and s.peer_id is null
        offset 0) x
     where exists (
       select from unnest(peers, reaches_before, reaches) m (peer, before, reach)
        where (x.version ->> m.peer)::bigint > m.before and (x.version ->> m.peer)::bigint <= m.reach)
  ),
  reached as materialized (
    select encode(r.peer_id, 'hex') as peer, r.reach from perch.encrypted_reaches r
     where r.space_id = document.space_id and r.app_id = document.app_id and r.table_name = document.table_name
       and r.record_id = document.record_id
       and r.peer_id = any (array(
         select distinct decode(k, 'hex') from touched t cross join lateral jsonb_object_keys(t.version) k))
  ),
  exceeding as (
    select distinct t.seq
      from touched t
     cross join lateral jsonb_each_text(t.version) v
      left join reached r on r.peer = v.key
     where v.value::bigint > coalesce(r.reach, 0)
  ),
  gone as (
    delete from perch.encrypted_records x
     where x.space_id = document.space_id and x.app_id = document.app_id and x.table_name = document.table_name
       and x.record_id = document.record_id
       and x.seq = any (array(select t.seq from touched t except select e.seq from exceeding e))
    returning octet_length(x.payload) as size, x.seq, x.revision
  )
  select (select coalesce(sum(g.size), 0)::bigint from gone g),
         array(select unnest(array[g.seq, g.revision]) from gone g)
$$;
grant execute on function perch.delete_reached to perch_worker;

comment on function perch.delete_reached(perch.encrypted_documents, text[], bigint[], bigint[]) is
  'Private. Deletes the snapshots of an encrypted document of which the spans have all by now, after the reaches of these peers (in hex) moved. Out: how many bytes they were, and the position and the revision of each, in turn.';
