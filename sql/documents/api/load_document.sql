create or replace function perch.load_document(
  space_id text, app_id text, table_name text, record_id text, after_seq bigint default 0
)
returns table (
  fields jsonb, snapshot bytea, snapshot_seq bigint, seqs bigint[], updates bytea[], head_seq bigint,
    projection_bytes bigint, ended jsonb,
  snapshot_revision bigint, revisions bigint[], head_revision bigint
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
rows 1
as $$
begin
  return query
    select perch.document_fields(load_document.app_id, load_document.table_name),
           r.snapshot, coalesce(r.snapshot_seq, 0), r.seqs, r.updates, r.head_seq, r.projection_bytes,
           coalesce((
             select t.version from perch.document_tombstones t
              where t.space_id = load_document.space_id and t.app_id = load_document.app_id
                and t.table_name = load_document.table_name and t.record_id = load_document.record_id), '{}'),
           r.snapshot_revision, r.revisions, r.head_revision
      from perch.read_document(load_document.space_id, load_document.app_id, load_document.table_name,
                               load_document.record_id, load_document.after_seq) r;
end
$$;
grant execute on function perch.load_document to perch_worker;

comment on function perch.load_document(text, text, text, text, bigint) is
  'For perch_worker: perch.document_state without a user, with the declared fields, the position of every update, and what the document''s earlier incarnations had in them (ended, as document_tombstones.version), which is refused in this one. Errors: PE404.';
