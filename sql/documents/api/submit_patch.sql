create or replace function perch.submit_patch(
  app_id text, table_name text, record_id text, patch jsonb,
  space_id text default null, base_seq bigint default null, client_id text default null, op_id text default null,
  base_revision bigint default null,
  out seq bigint, out revision bigint
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  space constant text := perch.require_space(submit_patch.space_id, to_write => true);
  max_bytes constant bigint := perch.setting('max_patch_bytes', 4194304);
  content constant text := submit_patch.patch::text;
begin
  if perch.catches_undone() then
    begin
      select s.seq, s.revision into seq, revision
        from perch.submit_patch(app_id, table_name, record_id, patch, space_id, base_seq, client_id, op_id,
        base_revision) s;
      return;
    exception when serialization_failure then
      perform perch.fail_undone(sqlerrm);
    end;
  end if;
  if octet_length(content) > max_bytes then
    perform perch.fail('PE413', format('the patch is longer than %s bytes', max_bytes),
      jsonb_build_object('limit', 'max_patch_bytes', 'max', max_bytes, 'got', octet_length(content)));
  end if;
  perform perch.check_numbers(submit_patch.patch, content, 'the patch');
  perform perch.check_id(submit_patch.record_id, 'record_id');
  if submit_patch.client_id is not null then
    perform perch.check_id(submit_patch.client_id, 'client_id');
  end if;
  perform perch.check_patch(submit_patch.table_name,
    perch.document_fields(submit_patch.app_id, submit_patch.table_name), submit_patch.patch);
  select i.seq, i.revision into seq, revision
    from perch.append_to_inbox(submit_patch.app_id, submit_patch.table_name, submit_patch.record_id, space, 'patch',
           null, submit_patch.patch, submit_patch.base_seq, submit_patch.client_id, submit_patch.op_id,
           submit_patch.base_revision) i;
end
$$;
grant execute on function perch.submit_patch to perch_app;

comment on function perch.submit_patch(text, text, text, jsonb, text, bigint, text, text, bigint) is
  'perch.patch_document, which also returns what identifies the position that it returns (revision): to be given as base_revision of the next patch, with the position as base_seq. Null where the op_id is one from before there was such a thing. Errors: as perch.patch_document. Example: select seq, revision from perch.submit_patch(app_id => ''notes'', table_name => ''pages'', record_id => ''p1'', patch => ''{"title": "Plans"}'');';
