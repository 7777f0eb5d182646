create or replace function perch.document_state(
  app_id text, table_name text, record_id text, space_id text default null, after_seq bigint default 0,
  after_revision bigint default null
)
returns table (snapshot bytea, snapshot_seq bigint, updates bytea[], head_seq bigint, head_revision bigint)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
rows 1
as $$
declare
  space constant text := perch.require_space(document_state.space_id, to_write => false);
  found record;
begin
  perform perch.check_id(document_state.record_id, 'record_id');
  perform perch.document_fields(document_state.app_id, document_state.table_name);
  perform perch.require_in_sight(perch.document_relation(document_state.app_id, document_state.table_name), space,
    document_state.record_id);
  select r.* into found
    from perch.read_document(space, document_state.app_id, document_state.table_name, document_state.record_id,
                             coalesce(document_state.after_seq, 0), document_state.after_revision) r;
  if document_state.after_revision is not null and found.leads_on is false then
    perform perch.position_gone(space, 'after_seq', document_state.after_seq, found.head_seq);
  end if;
  return query select found.snapshot, coalesce(found.snapshot_seq, 0), found.updates, found.head_seq,
    found.head_revision;
end
$$;
grant execute on function perch.document_state to perch_app;

comment on function perch.document_state(text, text, text, text, bigint, bigint) is
  'What a reader of a document who is at after_seq (0: the beginning) lacks: import the snapshot, when there is one, and then the updates, in order, into a LoroDoc; then be at head_seq and head_revision. Give both back as after_seq and after_revision: then a database that went back to an earlier state is told (PE410: begin with an empty LoroDoc and after_seq 0, and push what the old one has besides), also when it has given the position to something else since; without after_revision only the numbers are compared, and a reader who is ahead is given everything. The snapshot is null when the updates alone suffice. A document that does not exist has no updates. Errors: PE401, PE403, PE404 when the table is not declared, PE410 when after_revision is given and the document has nothing of the kind at after_seq, PE422. Example: select * from perch.document_state(app_id => ''notes'', table_name => ''pages'', record_id => ''p1'');';
