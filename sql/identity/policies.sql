-- Every policy, in one place. Default deny: a table without a line here shows nothing and takes nothing.
--
-- Three readers: whoever the context names (the first two columns; in a SECURITY DEFINER function that is perch_owner,
-- which FORCE ROW LEVEL SECURITY binds); perch_worker, which serves everybody and sees everything; and perch_owner in
-- the bookkeeping that no user has a grant on.
--
-- Each function is wrapped in a sub-select so that it is evaluated once a statement, and each comparison has the form
-- that an index led by space_id serves. (With Citus sub-selects must go: replace "(select …)" by what is in it here and
-- nowhere else.)
--
-- What may be written comes in two forms that mean the same. "writable" finds rows. "new_in_writable" only looks at a
-- row that is there already, needs no index, and is made of fewer functions: starting them is most of what a small
-- INSERT costs. It is perch.writable_space_ids() written out: of whoever is named, the list of the setting, which is
-- read first so that a malformed one lets nothing pass, and the personal space. (perch.personal_space_id, which the
-- planner would replace by its text, costs an INSERT that is planned anew 6 of 18 microseconds.)
--
-- Only what differs from the catalog is made anew: that takes a lock on its table which waits for every transaction
-- that reads it, and for which everybody waits. What an expression is in the catalog is not what is written here, so
-- each is shown to Postgres once, on a table of no use. Locks are taken table by table, in the order of this list,
-- before anything is changed. Policies of other names are not ours: `perch migrate up` drops those that permit, which
-- would let others in, and names them (catalog-differences.ts).
do $policies$
declare
  readable constant text := 'space_id = any ((select perch.current_space_ids())::text[])';
  writable constant text := 'space_id = any ((select perch.writable_space_ids())::text[])';
  mine     constant text := 'user_id = (select perch.current_user_id())';
  new_in_writable constant text :=
    '((space_id = any ((select nullif('
    'current_setting(''app.current_user_writable_space_ids'', true), '''')::text[])::text[])'
    ' or space_id = ''~'' || current_setting(''app.current_user_id'', true)) and current_setting(''app.current_user_id'', true) <> '''')';
  new_of_mine constant text := 'user_id = nullif(current_setting(''app.current_user_id'', true), '''')';
  personal     constant text := 'space_id = perch.personal_space_id((select perch.current_user_id()))';
  new_personal constant text := 'space_id = ''~'' || nullif(current_setting(''app.current_user_id'', true), '''')';
  -- Of synced tables with rules the functions show what is for the user; the log itself has all of it.
  for_all constant text := 'concat(app_id, '' '', table_name) <> all ((select perch.logs_with_rules())::text[])';
  -- perch.current_tenant_id() written out: putting a checkpoint passes here some ten times.
  accepted constant text := 'invitation_id = (select nullif(current_setting(''perch.invitation_id'', true), ''''))';
  tenants  constant text := 'tenant_id = (select nullif(current_setting(''app.current_tenant_id'', true), ''''))';
  wanted jsonb;
  meanings jsonb := '{}';
  expression text;
  meaning text;
  differing jsonb;
  patience_ms constant integer := (select s.setting from pg_settings s where s.name = 'lock_timeout');
  began timestamptz;
  change record;
begin
  with rules as (
    select r.*, row_number() over () as place,
           replace(replace(replace(r.may_write, writable, new_in_writable), mine, new_of_mine), personal,
             new_personal) as new_row
      from (values
      -- table                 may read                                may write
      ('spaces',               readable || ' or created_by = (select perch.current_user_id())',
        'perch.owns_space(space_id) or created_by = (select perch.current_user_id())'),
      ('space_members',        readable || ' or ' || mine,             null),
      ('space_invitations',    'perch.owns_space(space_id) or ' || accepted,
                                                                       null),
      ('push_receipts',        personal,                               personal),
      ('document_locks',       'false',                                null),
      ('documents',            readable || ' and ' || for_all,         writable),
      ('document_tombstones',  readable,                               writable),
      ('document_snapshots',   readable,                               writable),
      ('document_updates',     readable,                               writable),
      ('document_history',     readable,                               writable),
      ('document_inbox',       readable,                               writable || ' and ' || mine),
      ('document_queue',       writable,                               writable),
      ('document_tables',      'true',                                 null),
      ('encrypted_tables',     'true',                                 null),
      ('encrypted_documents',  readable,                               writable),
      ('encrypted_records',    readable,                               writable),
      ('encrypted_reaches',    readable,                               writable),
      ('schema_versions',      'true',                                 null),
      ('schema_upgrades',      'true',                                 null),
      ('limits',               'true',                                 null),
      ('mutators',             'true',                                 null),
      ('field_kinds',          'true',                                 null),
      ('log_epoch',            'true',                                 null),
      ('space_heads',          'false',                                null),
      ('stored_records',       readable,                               writable),
      ('sync_changes',         readable || ' and ' || for_all,         writable || ' and ' || mine),
      ('deferred_notifications',           'false',                                null),
      ('synced_relations',     'true',                                 null),
      ('captured_changes',     'false',                                null),
      ('sequencer',            'false',                                null),
      ('row_images',           'false',                                null),
      ('row_stamps',           'false',                                null),
      ('row_documents',        'false',                                null),
      ('column_writes',        'false',                                null),
      ('closed_logs',          'false',                                null),
      ('begun_epochs',         'false',                                null),
      ('readers',              'false',                                null),
      ('commit_order',         'false',                                null),
      ('notifier',                'true',                                 null),
      ('presence_head',        'false',                                null),
      ('presence',             'false',                                null),
      ('presence_nodes',       'false',                                null),
      ('console_actions',      'false',                                null),
      ('thread_leases',        tenants,                                tenants),
      ('threads',              tenants,                                tenants),
      ('stored_checkpoints',   tenants,                                tenants),
      ('checkpoint_values',    tenants,                                tenants),
      ('checkpoint_writes',    tenants,                                tenants),
      ('checkpoint_pieces',    tenants,                                tenants),
      ('thread_logs',          tenants,                                tenants),
      ('thread_events',        tenants,                                tenants)
      ) as r (table_name, may_read, may_write)
  ),
  special (table_name, name, command, role, using_expression, check_expression) as (values
    -- Members are managed by owners; the creator of a space becomes its first.
    ('space_members', 'may_insert', 'insert', 'public', null::text,
     'perch.owns_space(space_id) or (' || mine || ' and (perch.is_invited(space_id, role)'
     ' or role = ''owner'' and perch.is_unowned_space_of_mine(space_id)))'),
    ('space_members', 'may_update', 'update', 'public', 'perch.owns_space(space_id)', 'perch.owns_space(space_id)'),
    ('space_members', 'may_delete', 'delete', 'public', 'perch.owns_space(space_id) or ' || mine, null),

    -- Invitations are the owners'; accepting one, which takes its secret, uses it up. perch.accept_invitation says
    -- which is accepted.
    ('space_invitations', 'may_insert', 'insert', 'public', null, 'perch.owns_space(space_id)'),
    ('space_invitations', 'may_update', 'update', 'public', accepted, accepted),
    ('space_invitations', 'may_delete', 'delete', 'public', 'perch.owns_space(space_id)', null),

    -- A document that somebody else wrote is deleted, or its inbox emptied, by whoever may write its space.
    ('document_inbox', 'may_delete', 'delete', 'public', writable, null),

    -- Declarations, limits and the epoch are the DBA's, through functions that only members of perch_owner may execute.
    ('document_tables', 'may_insert', 'insert', 'perch_owner', null, 'true'),
    ('document_tables', 'may_update', 'update', 'perch_owner', 'true', 'true'),
    ('encrypted_tables', 'may_insert', 'insert', 'perch_owner', null, 'true'),
    ('log_epoch', 'may_update', 'update', 'perch_owner', 'true', 'true'),
    ('limits', 'may_insert', 'insert', 'perch_owner', null, 'true'),
    ('limits', 'may_update', 'update', 'perch_owner', 'true', 'true'),
    ('limits', 'may_delete', 'delete', 'perch_owner', 'true', null),
    ('mutators', 'may_insert', 'insert', 'perch_owner', null, 'true'),
    ('mutators', 'may_update', 'update', 'perch_owner', 'true', 'true'),
    ('mutators', 'may_delete', 'delete', 'perch_owner', 'true', null),
    ('schema_versions', 'may_insert', 'insert', 'perch_owner', null, 'true'),
    ('schema_versions', 'may_update', 'update', 'perch_owner', 'true', 'true'),
    ('schema_upgrades', 'may_insert', 'insert', 'perch_owner', null, 'true'),
    ('schema_upgrades', 'may_update', 'update', 'perch_owner', 'true', 'true'),

    -- Functions apply the rules of synced tables themselves (perch.changes_in_sight).
    ('sync_changes', 'functions', 'select', 'perch_owner', readable, null),

    ('documents', 'functions', 'select', 'perch_owner', readable, null),

    -- What somebody wrote stays theirs to take along (perch.export_changes), and is known when it is sent again
    -- (perch.push), also where they may read no more: but through functions only, and only the entries of the log as
    -- they wrote them. A record, which others go on writing, is read by its space alone.
    ('sync_changes', 'author', 'select', 'perch_owner', mine, null),

    -- The counters, the locks and the notifications are perch's own bookkeeping, on which no user has a grant; what
    -- they count is in the log, whose policies decide. A notification is sent when the transaction ends, by when the
    -- context may be another.
    ('space_heads', 'bookkeeping', 'all', 'perch_owner', 'true', 'true'),
    ('document_locks', 'bookkeeping', 'all', 'perch_owner', 'true', 'true'),
    ('deferred_notifications', 'may_insert', 'insert', 'perch_owner', null, 'true'),

    -- Whoever writes a synced table names no user, and writes what is captured of it by a trigger that runs as
    -- perch_owner; the sequencer, which does so, too, puts it into the logs of all spaces. Nothing else of perch's
    -- writes an entry that has a position.
    ('synced_relations', 'may_insert', 'insert', 'perch_owner', null, 'true'),
    ('synced_relations', 'may_update', 'update', 'perch_owner', 'true', 'true'),
    ('synced_relations', 'may_delete', 'delete', 'perch_owner', 'true', null),
    ('captured_changes', 'bookkeeping', 'all', 'perch_owner', 'true', 'true'),
    ('sequencer', 'bookkeeping', 'all', 'perch_owner', 'true', 'true'),
    ('row_images', 'bookkeeping', 'all', 'perch_owner', 'true', 'true'),
    ('row_stamps', 'bookkeeping', 'all', 'perch_owner', 'true', 'true'),
    ('row_documents', 'bookkeeping', 'all', 'perch_owner', 'true', 'true'),
    ('column_writes', 'bookkeeping', 'all', 'perch_owner', 'true', 'true'),
    ('document_tables', 'may_delete', 'delete', 'perch_owner', 'true', null),
    ('closed_logs', 'bookkeeping', 'all', 'perch_owner', 'true', 'true'),
    ('begun_epochs', 'bookkeeping', 'all', 'perch_owner', 'true', 'true'),
    ('readers', 'bookkeeping', 'all', 'perch_owner', 'true', 'true'),
    ('commit_order', 'bookkeeping', 'all', 'perch_owner', 'true', 'true'),
    ('sync_changes', 'sequencer', 'insert', 'perch_owner', null, 'position is not null'),

    -- Whether a space id is in use (perch.space_in_use) is asked of the tables, too, that show nobody anything.
    ('deferred_notifications', 'in_use', 'select', 'perch_owner', readable, null),
    ('presence', 'in_use', 'select', 'perch_owner', readable, null)
  ),
  general as (
    select r.table_name, p.*
      from rules r
     cross join lateral (values
       ('may_read', 'select', 'public', r.may_read, null),
       ('may_insert', 'insert', 'public', null, r.new_row),
       ('may_update', 'update', 'public', r.may_write, r.new_row),
       ('may_delete', 'delete', 'public', r.may_write, null),
       ('worker', 'all', 'perch_worker', 'true', 'true')
     ) p (name, command, role, using_expression, check_expression)
     where (r.may_write is not null or p.name in ('may_read', 'worker'))
       and not exists (select from special s where s.table_name = r.table_name and s.name = p.name)
  )
  select jsonb_agg(to_jsonb(w) || jsonb_build_object('place', r.place)) into wanted
    from (select * from general union all select * from special) w join rules r using (table_name);

  create table perch.policy_probe
    (space_id text collate "C", user_id text collate "C", created_by text collate "C", tenant_id text collate "C",
      role text,
     position bigint, invitation_id text collate "C", app_id text collate "C", table_name text collate "C");
  for expression in
    select distinct e.text
      from jsonb_to_recordset(wanted) w (using_expression text, check_expression text)
     cross join lateral (values (w.using_expression), (w.check_expression)) e (text)
     where e.text is not null
  loop
    execute format('create policy probe on perch.policy_probe using (%s)', expression);
    select pg_get_expr(p.polqual, p.polrelid) into meaning from pg_policy p
      where p.polrelid = 'perch.policy_probe'::regclass;
    drop policy probe on perch.policy_probe;
    meanings := meanings || jsonb_build_object(expression, meaning);
  end loop;
  drop table perch.policy_probe;

  select jsonb_agg(to_jsonb(d) order by d.place, d.name) into differing
    from (
      select w.*, null::text as stale
        from jsonb_to_recordset(wanted) w
               (place bigint, table_name text, name text, command text, role text, using_expression text,
                 check_expression text)
        join pg_class c on c.oid = format('perch.%I', w.table_name)::regclass
        left join pg_policy p on p.polrelid = c.oid and p.polname = w.name
       where not (c.relrowsecurity and c.relforcerowsecurity)
          or (p.polpermissive, p.polcmd, p.polroles, pg_get_expr(p.polqual, p.polrelid),
            pg_get_expr(p.polwithcheck, p.polrelid))
             is distinct from
             (true, (case w.command when 'all' then '*' when 'select' then 'r' when 'insert' then 'a'
               when 'update' then 'w' else 'd' end)::"char",
              array[case w.role when 'public' then 0::oid else to_regrole(w.role)::oid end],
              meanings ->> w.using_expression, meanings ->> w.check_expression)
      union all
      -- Of an earlier version: the names are ours, and nothing is wanted of them here.
      select k.place, k.table_name, p.polname, null, null, null, null, p.polname
        from (select distinct w.place, w.table_name from jsonb_to_recordset(wanted) w (place bigint, table_name text)) k
        join pg_policy p on p.polrelid = format('perch.%I', k.table_name)::regclass
       where p.polname = any (array(select distinct w.name from jsonb_to_recordset(wanted) w (name text)))
         and not exists (
           select from jsonb_to_recordset(wanted) w (table_name text, name text)
             where w.table_name = k.table_name and w.name = p.polname)
    ) d;

  -- All locks together are waited for no longer than one of them may be: behind those that are had, everybody waits.
  began := clock_timestamp();
  for change in
    select distinct d.place, d.table_name from jsonb_to_recordset(differing) d (place bigint, table_name text)
      order by d.place
  loop
    if patience_ms > 0 then
      perform set_config('lock_timeout',
        greatest(patience_ms - extract(epoch from clock_timestamp() - began) * 1000, 50)::int::text, true);
    end if;
    execute format('lock table perch.%I in access exclusive mode', change.table_name);
  end loop;
  perform set_config('lock_timeout', patience_ms::text, true);
  for change in
    select d.* from jsonb_to_recordset(differing) d
             (place bigint, table_name text, name text, command text, role text, using_expression text,
               check_expression text, stale text)
     order by d.place, d.name
  loop
    execute format('alter table perch.%I enable row level security', change.table_name);
    execute format('alter table perch.%I force row level security', change.table_name);
    execute format('drop policy if exists %I on perch.%I', change.name, change.table_name);
    if change.stale is null then
      execute format('create policy %I on perch.%I for %s to %s', change.name, change.table_name, change.command,
        change.role)
        || coalesce(' using (' || change.using_expression || ')', '')
        || coalesce(' with check (' || change.check_expression || ')', '');
    end if;
  end loop;
end
$policies$;
