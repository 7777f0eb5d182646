-- Who may execute and read what. Nothing for PUBLIC: what is not named here is for perch_owner alone.
revoke all on schema perch from public;
revoke all on all tables in schema perch from public, perch_app, perch_worker;
revoke all on all functions in schema perch from public, perch_app, perch_worker;
-- In every schema: a default of one schema can only add to the global one, which lets PUBLIC execute.
alter default privileges for role perch_owner revoke execute on functions from public;
grant usage on schema perch to perch_app, perch_worker;

-- The API of CONTRACT: by name, so that a new function is granted to nobody until it is named here.
do $grants$
declare
  granted record;
begin
  for granted in
    select p.oid::regprocedure as signature, g.role
      from (values
        ('perch_app', array[
          'set_context', 'set_tenant', 'current_user_id', 'current_space_ids', 'writable_space_ids', 'current_tenant_id', 'personal_space_id',
          'create_space', 'set_space_member', 'remove_space_member',
          'push', 'json_error', 'pull', 'pull_text', 'snapshot_records', 'snapshot_text', 'export_changes', 'restore_changes', 'contents_as_text',
          'push_update', 'patch_document', 'pending_updates', 'document_state', 'document_versions', 'delete_document', 'lock_document',
          -- of DocumentStore, whose login is a member of both roles
          'visit_document', 'write_document',
          'put_checkpoint', 'latest_checkpoint', 'get_checkpoint', 'checkpoint_history', 'update_checkpoint_state', 'fork_checkpoint',
          'delete_thread', 'prune_checkpoints', 'put_channels', 'put_writes', 'load_channels', 'list_channels', 'channel_history',
          'append_thread_events', 'load_thread_events', 'archive_thread_events', 'thread_log',
          'acquire_lease', 'renew_lease', 'release_lease',
          -- called by the policies, or by views, with the rights of whoever reads
          'owns_space', 'is_unowned_space_of_mine', 'assemble_state', 'assemble_json', 'as_jsonb']),
        ('perch_worker', array[
          'set_context', 'current_user_id', 'current_space_ids', 'writable_space_ids', 'current_tenant_id', 'personal_space_id',
          'setting', 'hold_document', 'check_id', 'fail', 'error_word', 'document_fields',
          'load_document', 'open_document', 'has_position', 'new_revision', 'set_tail_aside', 'reading_position', 'read_document', 'append_updates', 'ring_appends', 'document_ring', 'document_access', 'pending_documents', 'claim_inbox', 'finish_inbox',
          'stretches', 'merge_ends', 'document_version', 'retry_update', 'discard_update', 'project_document', 'is_long', 'record_size', 'enqueue_document', 'fold_document', 'look', 'prune_changes', 'prune_space', 'entry_mark', 'log_heads', 'check_history', 'server_identity', 'begin_epoch', 'upgrade_error', 'next_seq', 'lock_heads',
          'require_encrypted_table', 'append_encrypted', 'encrypted_state', 'encrypted_news',
          'put_presence', 'presence_news', 'presence_of', 'enter_presence', 'leave_presence',
          'owns_space', 'is_unowned_space_of_mine', 'assemble_state', 'assemble_json', 'as_jsonb'])
      ) as g (role, functions)
      cross join unnest(g.functions) as f (name)
      join pg_proc p on p.proname = f.name and p.pronamespace = 'perch'::regnamespace
  loop
    execute format('grant execute on function %s to %I', granted.signature, granted.role);
  end loop;
end
$grants$;

grant select on perch.spaces, perch.space_members, perch.sync_changes, perch.records, perch.stored_records, perch.documents, perch.document_tables, perch.log_epoch,
  perch.encrypted_tables, perch.encrypted_documents, perch.encrypted_records
  to perch_app;
grant select on perch.checkpoints, perch.threads, perch.stored_checkpoints, perch.checkpoint_values, perch.checkpoint_pieces,
  perch.thread_logs, perch.thread_events, perch.thread_leases
  to perch_app;

grant select on all tables in schema perch to perch_worker;
grant insert, update, delete on
  perch.documents, perch.document_locks, perch.document_tombstones, perch.document_snapshots, perch.document_updates, perch.document_history, perch.document_inbox, perch.document_queue,
  perch.stored_records, perch.sync_changes, perch.space_heads, perch.push_receipts, perch.owed_rings, perch.watch,
  perch.presence, perch.presence_head, perch.presence_nodes,
  perch.encrypted_documents, perch.encrypted_records, perch.encrypted_reaches
  to perch_worker;
