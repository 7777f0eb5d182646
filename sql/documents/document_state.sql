create or replace function perch.document_state(app_id text, table_name text, record_id text, space_id text default null, after_seq bigint default 0)
returns table (snapshot bytea, snapshot_seq bigint, updates bytea[], head_seq bigint)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
rows 1
as $$
declare
  space constant text := perch.require_space(document_state.space_id, to_write => false);
begin
  perform perch.check_id(document_state.record_id, 'record_id');
  perform perch.document_fields(document_state.app_id, document_state.table_name);
  return query
    select r.snapshot, coalesce(r.snapshot_seq, 0), r.updates, r.head_seq
      from perch.read_document(space, document_state.app_id, document_state.table_name, document_state.record_id, coalesce(document_state.after_seq, 0)) r;
end
$$;

comment on function perch.document_state(text, text, text, text, bigint) is
  'What a reader of a document who is at after_seq (0: the beginning) lacks: import the snapshot, when there is one, and then the updates, in order, into a LoroDoc; then be at head_seq. The snapshot is null when the updates alone suffice. A document that does not exist has no updates. Errors: PE401, PE403, PE404 when the table is not declared, PE422. Example: select * from perch.document_state(app_id => ''notes'', table_name => ''pages'', record_id => ''p1'');';
