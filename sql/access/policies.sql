-- Every policy, in one place. Default deny: a table without a line here shows nothing and takes nothing.
--
-- Three readers: whoever the context names (the first two columns; in a SECURITY DEFINER function that is perch_owner, which
-- FORCE ROW LEVEL SECURITY binds); perch_worker, which serves everybody and sees everything; and perch_owner in the
-- bookkeeping that no user has a grant on.
--
-- Each function is wrapped in a sub-select so that it is evaluated once a statement, and each comparison has the form that an
-- index led by space_id serves. (With Citus sub-selects must go: replace "(select …)" by what is in it here and nowhere else.)
--
-- What may be written comes in two forms that mean the same. "writable" finds rows. "new_in_writable" only looks at a row that is
-- there already, needs no index, and is made of fewer functions: starting them is most of what a small INSERT costs. It is
-- perch.writable_space_ids() written out: of whoever is named, the list of the setting, which is read first so that a malformed
-- one lets nothing pass, and the personal space.
do $policies$
declare
  readable constant text := 'space_id = any ((select perch.current_space_ids())::text[])';
  writable constant text := 'space_id = any ((select perch.writable_space_ids())::text[])';
  mine     constant text := 'user_id = (select perch.current_user_id())';
  new_in_writable constant text :=
    '((space_id = any ((select nullif(current_setting(''app.current_user_writable_space_ids'', true), '''')::text[])::text[])'
    ' or space_id = ''~'' || current_setting(''app.current_user_id'', true)) and current_setting(''app.current_user_id'', true) <> '''')';
  new_of_mine constant text := 'user_id = nullif(current_setting(''app.current_user_id'', true), '''')';
  personal     constant text := 'space_id = perch.personal_space_id((select perch.current_user_id()))';
  new_personal constant text := 'space_id = ''~'' || nullif(current_setting(''app.current_user_id'', true), '''')';
  -- perch.current_tenant_id() written out: putting a checkpoint passes here some ten times.
  tenants  constant text := 'tenant_id = (select nullif(current_setting(''app.current_tenant_id'', true), ''''))';
  rule record;
  new_row text;
begin
  for rule in
    select * from (values
      -- table                 may read                                may write
      ('spaces',               readable || ' or created_by = (select perch.current_user_id())',
                                                                       'perch.owns_space(space_id) or created_by = (select perch.current_user_id())'),
      ('space_members',        readable || ' or ' || mine,             null),
      ('sync_changes',         readable,                               writable || ' and ' || mine),
      ('stored_records',       readable,                               writable),
      ('push_receipts',        personal,                               personal),
      ('documents',            readable,                               writable),
      ('document_tombstones',  readable,                               writable),
      ('document_snapshots',   readable,                               writable),
      ('document_updates',     readable,                               writable),
      ('document_history',     readable,                               writable),
      ('document_inbox',       readable,                               writable || ' and ' || mine),
      ('document_queue',       writable,                               writable),
      ('document_locks',       'false',                                null),
      ('document_tables',      'true',                                 null),
      ('log_epoch',            'true',                                 null),
      ('space_heads',          'false',                                null),
      ('schema_versions',      'true',                                 null),
      ('schema_upgrades',      'true',                                 null),
      ('owed_rings',           'false',                                null),
      ('watch',                'true',                                 null),
      ('limits',               'true',                                 null),
      ('encrypted_tables',     'true',                                 null),
      ('encrypted_documents',  readable,                               writable),
      ('encrypted_records',    readable,                               writable),
      ('encrypted_reaches',    readable,                               writable),
      ('presence',             'false',                                null),
      ('presence_head',        'false',                                null),
      ('presence_nodes',       'false',                                null),
      ('threads',              tenants,                                tenants),
      ('stored_checkpoints',   tenants,                                tenants),
      ('checkpoint_values',    tenants,                                tenants),
      ('checkpoint_pieces',    tenants,                                tenants),
      ('checkpoint_writes',    tenants,                                tenants),
      ('thread_logs',          tenants,                                tenants),
      ('thread_events',        tenants,                                tenants),
      ('thread_leases',        tenants,                                tenants)
    ) as r (table_name, may_read, may_write)
  loop
    execute format('alter table perch.%I enable row level security', rule.table_name);
    execute format('alter table perch.%I force row level security', rule.table_name);
    execute format('drop policy if exists may_read on perch.%I', rule.table_name);
    execute format('drop policy if exists may_insert on perch.%I', rule.table_name);
    execute format('drop policy if exists may_update on perch.%I', rule.table_name);
    execute format('drop policy if exists may_delete on perch.%I', rule.table_name);
    execute format('drop policy if exists worker on perch.%I', rule.table_name);
    execute format('create policy may_read on perch.%I for select using (%s)', rule.table_name, rule.may_read);
    if rule.may_write is not null then
      new_row := replace(replace(replace(rule.may_write, writable, new_in_writable), mine, new_of_mine), personal, new_personal);
      execute format('create policy may_insert on perch.%I for insert with check (%s)', rule.table_name, new_row);
      execute format('create policy may_update on perch.%I for update using (%s) with check (%s)', rule.table_name, rule.may_write, new_row);
      execute format('create policy may_delete on perch.%I for delete using (%s)', rule.table_name, rule.may_write);
    end if;
    execute format('create policy worker on perch.%I to perch_worker using (true) with check (true)', rule.table_name);
  end loop;
end
$policies$;

-- Members are managed by owners; the creator of a space becomes its first.
create policy may_insert on perch.space_members for insert
  with check (perch.owns_space(space_id) or (
    user_id = (select perch.current_user_id()) and role = 'owner' and perch.is_unowned_space_of_mine(space_id)));
create policy may_update on perch.space_members for update
  using (perch.owns_space(space_id)) with check (perch.owns_space(space_id));
create policy may_delete on perch.space_members for delete
  using (perch.owns_space(space_id) or user_id = (select perch.current_user_id()));

-- A document that somebody else wrote is deleted, or its inbox emptied, by whoever may write its space.
drop policy may_delete on perch.document_inbox;
create policy may_delete on perch.document_inbox for delete
  using (space_id = any ((select perch.writable_space_ids())::text[]));

-- Declarations and the epoch are the DBA's, through functions that only members of perch_owner may execute.
create policy may_insert on perch.document_tables for insert to perch_owner with check (true);
create policy may_update on perch.document_tables for update to perch_owner using (true) with check (true);
create policy may_insert on perch.encrypted_tables for insert to perch_owner with check (true);
create policy may_update on perch.log_epoch for update to perch_owner using (true) with check (true);

create policy may_insert on perch.limits for insert to perch_owner with check (true);
create policy may_update on perch.limits for update to perch_owner using (true) with check (true);
create policy may_delete on perch.limits for delete to perch_owner using (true);

create policy may_insert on perch.schema_versions for insert to perch_owner with check (true);
create policy may_update on perch.schema_versions for update to perch_owner using (true) with check (true);
create policy may_insert on perch.schema_upgrades for insert to perch_owner with check (true);
create policy may_update on perch.schema_upgrades for update to perch_owner using (true) with check (true);

-- What somebody wrote stays theirs to take along (perch.export_changes), and is known when it is sent again (perch.push), also where
-- they may read no more: but through functions only, and only the entries of the log as they wrote them. A record, which others
-- go on writing, is read by its space alone.
drop policy if exists author on perch.sync_changes;
create policy author on perch.sync_changes for select to perch_owner using (user_id = (select perch.current_user_id()));

-- The counters, the locks and the rings are perch's own bookkeeping, on which no user has a grant; what they count is in the log, whose
-- policies decide. A ring is made when the transaction ends, by when the context may be another.
drop policy if exists bookkeeping on perch.space_heads;
create policy bookkeeping on perch.space_heads to perch_owner using (true) with check (true);
drop policy if exists bookkeeping on perch.document_locks;
create policy bookkeeping on perch.document_locks to perch_owner using (true) with check (true);
create policy may_insert on perch.owed_rings for insert to perch_owner with check (true);

-- Whether a space id is in use (perch.space_in_use) is asked of the tables, too, that show nobody anything.
drop policy if exists in_use on perch.owed_rings;
create policy in_use on perch.owed_rings for select to perch_owner using (space_id = any ((select perch.current_space_ids())::text[]));
drop policy if exists in_use on perch.presence;
create policy in_use on perch.presence for select to perch_owner using (space_id = any ((select perch.current_space_ids())::text[]));
