-- Who may execute and read what. Nothing for PUBLIC: what is not named here is for perch_owner alone. By name, so that
-- a new function is granted to nobody until it stands here.
--
-- Only what differs from the catalog is granted or revoked: each touches a row of the catalog, and with it the plans of
-- every session. What other roles were given is not ours, and stays.
do $grants$
declare
  statement text;
begin
  for statement in
    with functions as (
      select p.oid, g.role
        from (values
          ('perch_app', array[
            'set_context', 'set_tenant', 'current_user_id', 'current_space_ids', 'writable_space_ids',
              'current_tenant_id', 'personal_space_id',
            'create_space', 'set_space_member', 'remove_space_member',
            'list_spaces', 'read_space', 'invite_to_space', 'accept_invitation', 'revoke_invitation',
            'push', 'push_immediately', 'json_error', 'pull', 'pull_text', 'snapshot_records', 'snapshot_text',
              'export_changes', 'restore_changes', 'contents_as_text',
            'push_update', 'patch_document', 'submit_patch', 'pending_updates', 'document_state', 'document_versions',
              'current_document', 'versions_page',
              'delete_document', 'lock_document',
            -- of DocumentStore, whose login is a member of both roles
            'open_in_transaction', 'write_document',
            'put_checkpoint', 'latest_checkpoint', 'get_checkpoint', 'checkpoint_history', 'update_checkpoint_state',
              'fork_checkpoint',
            'delete_thread', 'prune_checkpoints', 'put_channels', 'put_writes', 'load_channels', 'list_channels',
              'channel_history',
            'append_thread_events', 'load_thread_events', 'archive_thread_events', 'thread_log',
            'acquire_lease', 'renew_lease', 'release_lease',
            'open_shape', 'shape_rows', 'shape_changes',
            -- called by the policies, or by views, with the rights of whoever reads
            'owns_space', 'is_unowned_space_of_mine', 'assemble_state', 'assemble_json', 'as_jsonb']),
          ('perch_worker', array[
            'set_context', 'current_user_id', 'current_space_ids', 'writable_space_ids', 'current_tenant_id',
              'personal_space_id',
            'setting', 'limit_values', 'take_document_lock', 'check_id', 'fail', 'error_word', 'document_fields',
            'load_document', 'open_document', 'has_position', 'new_revision', 'set_tail_aside', 'reading_position',
              'missed_updates', 'readable_space', 'access_of_many', 'declared_since', 'encrypted_positions',
                'spaces_of_users',
              'revision_at', 'inbox_item', 'is_queued', 'claim_projections', 'is_overtaken', 'patch_base', 'version_at',
                'others_wrote',
              'read_document', 'append_updates', 'append_to_tail', 'make_documents', 'lock_document_row',
              'try_document_row',
            'compare_record', 'show_record', 'long_data_of', 'is_fold_due', 'may_read', 'may_write', 'member_role',
              'role_writes',
            'notify_appends', 'document_notification', 'changes_notification', 'presence_notification',
              'document_access', 'pending_documents', 'claim_inbox', 'finish_inbox',
            'history_ranges', 'merge_ends', 'document_version', 'peer_authors', 'retry_update', 'discard_update',
              'project_document', 'is_long', 'record_size', 'enqueue_document', 'fold_document', 'notify_deferred',
              'prune_changes', 'prune_space', 'entry_mark', 'log_heads', 'check_history', 'server_identity',
              'begin_epoch', 'upgrade_error', 'next_seq', 'lock_heads',
            'sequence_changes', 'promise_sequencing', 'table_problems', 'key_columns',
            'shape_news', 'log_position', 'number_waiting', 'number_captured',
            'require_encrypted_table', 'has_encrypted_position', 'append_encrypted', 'encrypted_state',
              'encrypted_after',
            'put_presence', 'presence_after', 'presence_changes', 'presence_of', 'enter_presence', 'leave_presence',
            'owns_space', 'is_unowned_space_of_mine', 'assemble_state', 'assemble_json', 'as_jsonb'])
        ) as g (role, functions)
       cross join unnest(g.functions) as f (name)
        join pg_proc p on p.proname = f.name and p.pronamespace = 'perch'::regnamespace
    ),
    tables as (
      select c.oid, g.role, g.privilege
        from (values
          ('perch_app', '{SELECT}'::text[], array[
            'spaces', 'space_members', 'sync_changes', 'records', 'stored_records', 'documents', 'document_tables',
              'log_epoch', 'encrypted_tables', 'encrypted_documents', 'encrypted_records',
            'checkpoints', 'threads', 'stored_checkpoints', 'checkpoint_values', 'checkpoint_pieces', 'thread_logs',
              'thread_events', 'thread_leases']),
          ('perch_worker', '{INSERT,UPDATE,DELETE}', array[
            'documents', 'document_locks', 'document_tombstones', 'document_snapshots', 'document_updates',
              'document_history', 'document_inbox', 'document_queue',
            'stored_records', 'sync_changes', 'row_images', 'space_heads', 'push_receipts', 'deferred_notifications',
              'notifier',
            'presence', 'presence_head', 'presence_nodes',
            'encrypted_documents', 'encrypted_records', 'encrypted_reaches'])
        ) as r (role, privileges, names)
       cross join unnest(r.names) as n (name)
       cross join unnest(r.privileges) as x (privilege)
       cross join lateral (select r.role, x.privilege) g
        join pg_class c on c.relname = n.name and c.relnamespace = 'perch'::regnamespace
      union
      select c.oid, 'perch_worker', 'SELECT'
        from pg_class c where c.relnamespace = 'perch'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'f')
    ),
    wanted (kind, object, role, privilege) as (
      select 'function', f.oid::regprocedure::text, f.role, 'EXECUTE' from functions f
      union
      select 'table', t.oid::regclass::text, t.role, t.privilege from tables t
      union
      select 'schema', 'perch', r.role, 'USAGE' from unnest('{perch_app,perch_worker}'::text[]) r (role)
    ),
    present (kind, object, role, privilege) as (
      select o.kind, o.object, case a.grantee when 0 then 'public' else a.grantee::regrole::text end, a.privilege_type
        from (
          select 'function', p.oid::regprocedure::text, coalesce(p.proacl, acldefault('f', p.proowner))
            from pg_proc p where p.pronamespace = 'perch'::regnamespace
          union all
          select 'table', c.oid::regclass::text, c.relacl
            from pg_class c where c.relnamespace = 'perch'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'f')
          union all
          select 'schema', n.nspname, n.nspacl from pg_namespace n where n.nspname = 'perch'
        ) o (kind, object, acl)
       cross join lateral aclexplode(o.acl) a
       where a.grantee in (0, 'perch_app'::regrole, 'perch_worker'::regrole)
    )
    select format('revoke %s on %s %s from %s', d.privilege, d.kind, d.object, d.role)
      from (select * from present except select * from wanted) d
    union all
    select format('grant %s on %s %s to %s', d.privilege, d.kind, d.object, d.role)
      from (select * from wanted except select * from present) d
    -- Of columns nobody has rights of their own.
    union all
    select format('revoke all (%I) on %s from public, perch_app, perch_worker', a.attname, a.attrelid::regclass)
      from pg_attribute a join pg_class c on c.oid = a.attrelid
     where c.relnamespace = 'perch'::regnamespace
       and exists (select from aclexplode(a.attacl) x
         where x.grantee in (0, 'perch_app'::regrole, 'perch_worker'::regrole))
  loop
    execute statement;
  end loop;
end
$grants$;
