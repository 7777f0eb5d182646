-- A patch like any other, by whoever acts and in their name, merged by a worker: nothing is taken out of the history.
-- That they may write there is what the role says that they entered with.
create or replace function perch.console_revert(
  space_id text, app_id text, table_name text, record_id text, patch jsonb, seq bigint, base_seq bigint,
  base_revision bigint default null
)
returns json
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  me constant text := perch.require_console(to_act => true);
begin
  perform perch.set_context(user_id => me, space_ids => array[console_revert.space_id],
    writable_space_ids => array[console_revert.space_id]);
  perform perch.submit_patch(app_id => console_revert.app_id, table_name => console_revert.table_name,
    record_id => console_revert.record_id, patch => console_revert.patch, space_id => console_revert.space_id,
    base_seq => console_revert.base_seq, base_revision => console_revert.base_revision, client_id => 'console');
  perform perch.note_console_action('revert', jsonb_build_object('space_id', console_revert.space_id,
    'app_id', console_revert.app_id, 'table', console_revert.table_name, 'id', console_revert.record_id,
    'seq', console_revert.seq));
  return json_build_object('done', true);
end
$$;
grant execute on function perch.console_revert to perch_worker;

comment on function perch.console_revert(text, text, text, text, jsonb, bigint, bigint, bigint) is
  'For perch_worker with perch_app, of the console: gives a document the content of an earlier position (seq) by a patch, in the name of whoever acts; written down in perch.console_actions: {"done"}. Errors: PE401, PE403 for a viewer; as perch.patch_document.';
