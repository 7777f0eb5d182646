-- One statement, hence one snapshot of the database: positions, snapshot and tail belong together.
--
-- A tail is up to thousands of small updates. Writing out an array of them, and reading it, would take longer than
-- everything else here, so they come end to end.
create or replace function perch.open_document(
  space_id text, app_id text, table_name text, record_id text, after_seq bigint default 0,
    after_revision bigint default null
)
returns table (
  fields jsonb, snapshot bytea, snapshot_seq bigint, version bytea, seqs bigint[], lengths bigint[], tail bytea,
    ends json,
  head_seq bigint, incarnation_seq bigint, projection_bytes bigint, ended jsonb,
  snapshot_revision bigint, revisions bigint[], head_revision bigint, leads_on boolean
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
rows 1
as $$
begin
  return query
    select perch.document_fields(open_document.app_id, open_document.table_name),
           s.snapshot, p.snapshot_seq, s.version,
           coalesce(t.seqs, '{}'), coalesce(t.lengths, '{}'), coalesce(t.tail, ''), coalesce(t.ends, '[]'),
           p.head_seq, p.incarnation_seq, p.projection_bytes, coalesce(x.version, '{}'),
           coalesce(s.revision, 0), coalesce(t.revisions, '{}'), p.head_revision, p.leads_on
      from perch.reading_position(open_document.space_id, open_document.app_id, open_document.table_name,
                                  open_document.record_id, open_document.after_seq, open_document.after_revision) p
      left join perch.document_snapshots s
        on p.with_snapshot
       and s.space_id = open_document.space_id and s.app_id = open_document.app_id
       and s.table_name = open_document.table_name and s.record_id = open_document.record_id
     cross join lateral (
       select array_agg(u.seq order by u.seq) as seqs, array_agg(octet_length(u.payload)::bigint
         order by u.seq) as lengths,
              string_agg(u.payload, ''::bytea order by u.seq) as tail, json_agg(u.ends order by u.seq) as ends,
              array_agg(u.revision order by u.seq) as revisions
         from perch.document_updates u
        where u.space_id = open_document.space_id and u.app_id = open_document.app_id
          and u.table_name = open_document.table_name and u.record_id = open_document.record_id
          and u.seq > p.tail_after
     ) t
      left join perch.document_tombstones x
        on x.space_id = open_document.space_id and x.app_id = open_document.app_id
       and x.table_name = open_document.table_name and x.record_id = open_document.record_id;
end
$$;
grant execute on function perch.open_document to perch_worker;

comment on function perch.open_document(text, text, text, text, bigint, bigint) is
  'For perch_worker: perch.load_document with the updates end to end (tail, each of so many bytes: lengths), and what is known of their version: the snapshot''s (version, null when nobody noted it), and ends of each update, as in perch.document_updates. incarnation_seq: where this life of the document began. after_revision: as perch.reading_position; leads_on: whether after_seq is a position of this document. Errors: PE404.';
