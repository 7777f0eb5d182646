-- All of a batch at once, and what has ended is unpacked once: it may name tens of thousands of peers.
create or replace function perch.ended_records(ended jsonb, peer_ids bytea[], firsts bigint[], versions jsonb[])
returns integer[]
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(array_agg(r.nth::integer), '{}')
    from (select '{}'::jsonb || ended_records.ended as ended where ended_records.ended <> '{}' offset 0) d
   cross join unnest(peer_ids, firsts, versions) with ordinality r (peer_id, first, version, nth)
   where case when r.version is null then r.first < (d.ended ->> encode(r.peer_id, 'hex'))::bigint
           else exists (select from jsonb_each_text(r.version) v where v.value::bigint > 0 and d.ended ? v.key) end
$$;
grant execute on function perch.ended_records to perch_worker;

comment on function perch.ended_records(jsonb, bytea[], bigint[], jsonb[]) is
  'Private. Which of these encrypted records (one array element each, as for perch.append_encrypted) have operations of an incarnation that has ended; ended: for each of its peers, in hex, the counter behind its last operation.';
