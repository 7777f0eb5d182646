-- One statement, hence one snapshot of the database: positions, version and records belong together.
create or replace function perch.encrypted_state(space_id text, app_id text, table_name text, record_id text,
  peer_ids bytea[], counters bigint[])
returns table (head_seq bigint, incarnation_seq bigint, reach_peers bytea[], reaches bigint[], records bytea[],
  head_revision bigint)
language plpgsql stable
set search_path = pg_catalog, pg_temp
rows 1
as $$
begin
  perform perch.require_encrypted_table(encrypted_state.app_id, encrypted_state.table_name);
  return query
    with known as materialized (
      select k.peer_id, max(k.counter) as counter
        from unnest(encrypted_state.peer_ids, encrypted_state.counters) as k (peer_id, counter)
       group by k.peer_id
    )
    select coalesce(d.head_seq, 0), coalesce(d.incarnation_seq, 0),
           coalesce(v.peers, '{}'), coalesce(v.reaches, '{}'), coalesce(r.records, '{}'), coalesce(d.revision, 0)
      from (values (true)) as one_row
      left join perch.encrypted_documents d
        on d.space_id = encrypted_state.space_id and d.app_id = encrypted_state.app_id
       and d.table_name = encrypted_state.table_name and d.record_id = encrypted_state.record_id
      left join lateral (
        select array_agg(x.peer_id) as peers, array_agg(x.reach) as reaches
          from perch.encrypted_reaches x
         where x.space_id = d.space_id and x.app_id = d.app_id and x.table_name = d.table_name
           and x.record_id = d.record_id
           and x.reach > 0
      ) v on true
      left join lateral (
        select array_agg(x.payload order by x.seq) as records
          from perch.encrypted_records x
          left join known k on k.peer_id = x.peer_id
         where x.space_id = d.space_id and x.app_id = d.app_id and x.table_name = d.table_name
           and x.record_id = d.record_id
           and case
                 when x.version is null then x.next > coalesce(k.counter, 0)
                 else exists (select from jsonb_each_text(x.version) e
                               left join known s on s.peer_id = decode(e.key, 'hex')
                              where e.value::bigint > coalesce(s.counter, 0))
               end
      ) r on true;
end
$$;
grant execute on function perch.encrypted_state to perch_worker;

comment on function perch.encrypted_state(text, text, text, text, bytea[], bigint[]) is
  'For perch_worker: the encrypted records that a reader with this version (for each peer the counter behind its last operation) lacks, in the order in which they came, and the version and the position (head_seq, head_revision) they bring it to. Always one row. Errors: PE404 when the table is not declared.';
