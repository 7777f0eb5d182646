-- Breaking: tables, columns and functions have other names, which processes of earlier versions do not ask for.

-- Up Migration

alter table perch.owed_rings rename to deferred_notifications;
comment on table perch.deferred_notifications is
  'Notifications that writers leave to the workers, while one of them polls: a row is committed with the changes it is about.';
alter table perch.watch rename to notifier;
alter table perch.notifier rename column until to polls_until;
alter table perch.notifier rename constraint watch_pkey to notifier_pkey;
alter table perch.notifier rename constraint watch_only_row_check to notifier_only_row_check;
comment on table perch.notifier is
  'Until when a worker has promised to poll perch.deferred_notifications. Renewed by perch.notify_deferred.';
alter table perch.documents rename column life_seq to incarnation_seq;
alter table perch.encrypted_documents rename column life_seq to incarnation_seq;

-- sql/ makes them anew, under these names or with other arguments.
drop trigger if exists ring_added on perch.space_members;
drop trigger if exists ring_changed on perch.space_members;
drop trigger if exists ring_removed on perch.space_members;
drop trigger if exists ring on perch.document_updates;
drop trigger if exists ring on perch.document_inbox;
drop trigger if exists ring_first on perch.space_heads;
drop trigger if exists ring_next on perch.space_heads;
do $drop$
declare
  found record;
begin
  for found in
    select p.oid::regprocedure as routine from pg_proc p
     where p.pronamespace = 'perch'::regnamespace
       and p.proname in ('ring_members', 'ring_documents', 'ring_changes', 'look', 'ring_appends', 'document_ring',
         'append_updates', 'append_encrypted', 'encrypted_news', 'encrypted_state', 'presence_news', 'reading_position',
         'visit_document', 'open_document', 'hold_document', 'stretches', 'lift_change', 'try_lift', 'change_digest', 'said')
  loop
    execute format('drop routine %s', found.routine);
  end loop;
end
$drop$;

-- Down Migration

alter table perch.encrypted_documents rename column incarnation_seq to life_seq;
alter table perch.documents rename column incarnation_seq to life_seq;
alter table perch.notifier rename constraint notifier_only_row_check to watch_only_row_check;
alter table perch.notifier rename constraint notifier_pkey to watch_pkey;
alter table perch.notifier rename column polls_until to until;
alter table perch.notifier rename to watch;
alter table perch.deferred_notifications rename to owed_rings;
