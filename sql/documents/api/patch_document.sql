create or replace function perch.patch_document(
  app_id text, table_name text, record_id text, patch jsonb,
  space_id text default null, base_seq bigint default null, client_id text default null, op_id text default null,
  base_revision bigint default null
)
returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  return (perch.submit_patch(patch_document.app_id, patch_document.table_name, patch_document.record_id,
    patch_document.patch,
    patch_document.space_id, patch_document.base_seq, patch_document.client_id, patch_document.op_id,
    patch_document.base_revision)).seq;
end
$$;
grant execute on function perch.patch_document to perch_app;

comment on function perch.patch_document(text, text, text, jsonb, text, bigint, text, text, bigint) is
  'Appends a JSON patch to a document, in the caller''s transaction; returns the document''s seq. A field that is absent is kept; null clears it; a text is the wanted text, merged by diff; a counter takes a delta; list, movable_list, map and tree take the wanted value. base_seq is the position the patch was based on (default: everything that was pushed or appended before it): it is applied there and merged, so that it undoes no concurrent edit; base_revision is what perch.document_state gave with it as head_revision, or perch.submit_patch as revision: then it is also told when the database went back to an earlier state and has something else at base_seq. Errors: as perch.push_update, PE410 when the document never came to base_seq or has something else there: read it again; and PE422 naming table, field, expected and got. Example: select perch.patch_document(app_id => ''notes'', table_name => ''pages'', record_id => ''p1'', patch => ''{"title": "Plans"}'');';
