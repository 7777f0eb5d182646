-- Which changes were one transaction, and the functions of an app that a push may call.

-- Up Migration

-- The default comes with a step of its own: given with the column, it would be worked out once, for all entries that are there.
alter table perch.sync_changes add column txid xid8;
alter table perch.sync_changes alter column txid set default pg_current_xact_id();
comment on column perch.sync_changes.txid is
  'The transaction that made the change (pg_current_xact_id()): its entries stand one behind the other in the log of a space, and no page of perch.pull ends between them. Null: from before it was noted.';

create table perch.mutators (
  app_id        text collate "C" not null,
  name          text collate "C" not null,
  function      text not null,
  registered_at timestamptz not null default clock_timestamp(),
  primary key (app_id, name)
);
comment on table perch.mutators is 'The functions of apps that a push may call by name (perch.register_mutator).';

-- It takes one argument more now.
drop function if exists perch.push(text, jsonb, text);

-- Down Migration

drop table perch.mutators;
alter table perch.sync_changes drop column txid;
