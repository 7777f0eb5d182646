-- Who may execute and read what. Nothing for PUBLIC: what is not granted is for perch_owner alone.
--
-- Who may execute a function stands behind it, in its own file: `grant execute on function … to …`. As the files are
-- applied, the ledger takes that down (perch.applied_sql.callers), and here is put right what differs from it: what a
-- file no longer grants, what somebody else granted or revoked. docs/sql.md lists the functions by who may call them.
-- Tables are named here.
--
-- Only what differs from the catalog is granted or revoked: each touches a row of the catalog, and with it the plans of
-- every session. What other roles were given is not ours, and stays.
do $grants$
declare
  statement text;
begin
  for statement in
    with functions as (
      select p.oid, c.role
        from perch.applied_sql a cross join unnest(a.callers) c (role)
        join pg_proc p on p.proname = substring(a.path from '([^/]+)[.]sql$') and p.pronamespace = 'perch'::regnamespace
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
            'row_documents', 'column_writes', 'stored_records', 'sync_changes', 'captured_changes', 'row_images',
              'space_heads', 'push_receipts', 'deferred_notifications', 'notifier',
            'presence', 'presence_head', 'presence_nodes',
            'encrypted_documents', 'encrypted_records', 'encrypted_reaches']),
          -- Added to, and never changed.
          ('perch_worker', '{INSERT}', array['console_actions'])
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
