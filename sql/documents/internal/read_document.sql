-- One statement, hence one snapshot of the database: positions, snapshot and tail belong together.
create or replace function perch.read_document(
  space_id text, app_id text, table_name text, record_id text, after_seq bigint, after_revision bigint default null
)
returns table (
  snapshot bytea, snapshot_seq bigint, seqs bigint[], updates bytea[], head_seq bigint, projection_bytes bigint,
  snapshot_revision bigint, revisions bigint[], head_revision bigint, leads_on boolean
)
language sql stable
set search_path = pg_catalog, pg_temp
rows 1
as $$
  select s.snapshot, p.snapshot_seq, coalesce(t.seqs, '{}'), coalesce(t.updates, '{}'), p.head_seq, p.projection_bytes,
         coalesce(s.revision, 0), coalesce(t.revisions, '{}'), p.head_revision, p.leads_on
    from perch.reading_position(read_document.space_id, read_document.app_id, read_document.table_name,
                                read_document.record_id, read_document.after_seq, read_document.after_revision) p
    left join perch.document_snapshots s
      on p.with_snapshot
     and s.space_id = read_document.space_id and s.app_id = read_document.app_id
     and s.table_name = read_document.table_name and s.record_id = read_document.record_id
   cross join lateral (
      select array_agg(u.seq order by u.seq) as seqs, array_agg(u.payload order by u.seq) as updates,
             array_agg(u.revision order by u.seq) as revisions
        from perch.document_updates u
       where u.space_id = read_document.space_id and u.app_id = read_document.app_id
         and u.table_name = read_document.table_name and u.record_id = read_document.record_id
         and u.seq > p.tail_after
    ) t
$$;
grant execute on function perch.read_document to perch_worker;

comment on function perch.read_document(text, text, text, text, bigint, bigint) is
  'Private. What a reader with after_seq lacks of a document: a null snapshot when the tail alone suffices. Always one row; head_seq 0 when there never was such a document.';
