-- Synced tables: which tables of the app are in the log, what was captured of them and has no number yet, and what is kept beside the
-- log for them. What writes and reads these tables: sql/tables/.

-- Up Migration

create table perch.synced_relations (
  app_id           text collate "C" not null,
  table_name       text collate "C" not null,
  relation         regclass not null unique,
  space_column     name,
  space_column_number smallint,
  space_id         text collate "C",
  space_expression text,
  columns          name[],
  writable_columns name[] not null default '{}',
  documents        jsonb not null default '{}',
  row_filter       text,
  column_roles     jsonb not null default '{}',
  always           boolean not null default false,
  synced_at        timestamptz not null default clock_timestamp(),
  primary key (app_id, table_name),
  check (num_nonnulls(space_column, space_id, space_expression) = 1)
);
comment on table perch.synced_relations is
  'The options with which perch.sync_table made each table part of the log. Read perch.synced_tables instead.';
comment on column perch.synced_relations.relation is
  'By its name in a dump, so that it names the same table where that is restored.';
comment on column perch.synced_relations.space_column_number is
  'Where space_column stands in the table: it is found by it when it was renamed. By its name where both are there (a restore counts anew).';
comment on column perch.synced_relations.columns is 'What is synced; null: every column, also those that come later.';

-- Taken after the statement whose rows it numbers, while its row locks are held: so a transaction that overwrote what another had written
-- has a greater one. One by one (cache 1), or sessions would hold numbers back.
create sequence perch.capture_ordinal cache 1;
-- Given out by the sequencer alone, which is one at a time and holds its lock until its commit.
create sequence perch.change_position cache 1;

create table perch.captured_changes (
  ordinal     bigint not null,
  nth         integer not null,
  txid        xid8 not null,
  space_id    text collate "C" not null,
  app_id      text collate "C" not null,
  table_name  text collate "C" not null,
  record_id   text collate "C" not null,
  op          text not null,
  old_row     jsonb,
  new_row     jsonb,
  user_id     text collate "C",
  client_id   text collate "C",
  op_id       text collate "C",
  captured_at timestamptz not null,
  queued      bigint,
  primary key (ordinal, nth)
) with (autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_insert_threshold = -1);
comment on table perch.captured_changes is
  'What was written to synced tables and has no number yet: a queue that writers fill in their own transactions, and the sequencer empties. A row that moves from one space to another is a deletion in the one and an insertion in the other.';
comment on column perch.captured_changes.ordinal is 'One a statement: see perch.capture_ordinal.';
comment on column perch.captured_changes.nth is 'Counts what one statement did, in its order.';
comment on column perch.captured_changes.old_row is 'All columns of the row before (null for an insertion), also those that are not synced.';
comment on column perch.captured_changes.new_row is 'All columns of the row after (null for a deletion).';
comment on column perch.captured_changes.user_id is 'Whom the writer''s transaction named (perch.set_context); null: nobody, as plain SQL does.';
comment on column perch.captured_changes.queued is
  'Its place in the log of its space, where the sequencer found the counter of the space taken: it stays behind what has a smaller one, and before what has none.';

-- The greatest ordinal of a transaction is looked up by it; the rows behind the first of a statement would say the same.
create index captured_changes_by_transaction on perch.captured_changes (txid, ordinal) where nth = 1;
create index captured_changes_queued on perch.captured_changes (space_id, queued) where queued is not null;

create table perch.sequencer (
  only_row      boolean not null primary key default true check (only_row),
  bound         bigint not null default 0,
  open_txids    xid8[] not null default '{}',
  noted_at      timestamptz not null default '-infinity',
  batch_size    integer not null default 500,
  served_until  timestamptz not null default '-infinity',
  watched_until timestamptz not null default '-infinity'
) with (fillfactor = 10);
comment on table perch.sequencer is
  'Whoever gives captured changes their numbers has this row locked until commit. No app''s login can lock it.';
comment on column perch.sequencer.bound is
  'Up to this ordinal everything was given its number, but for what transactions of open_txids wrote. May be behind, which costs time alone.';
comment on column perch.sequencer.open_txids is 'The transactions that were open when bound was noted.';
comment on column perch.sequencer.noted_at is 'When bound and open_txids were noted: once a second, so that the row is not written with every batch.';
comment on column perch.sequencer.batch_size is 'So many changes at a time lately took as long as the counters may be held.';
comment on column perch.sequencer.served_until is 'Until when a worker has promised to sequence: readers leave it to the worker.';
comment on column perch.sequencer.watched_until is 'Until when a worker has promised to look again by itself: writers need not ring.';
insert into perch.sequencer default values;

-- Plain SQL names nobody.
alter table perch.sync_changes alter column user_id drop not null;
alter table perch.sync_changes add column position bigint;
comment on column perch.sync_changes.position is
  'Of a change of a synced table: its place in one order over all spaces, given by the sequencer. With gaps; what is committed later has a greater one. Null for all other changes.';
create index sync_changes_by_position on perch.sync_changes (position) where position is not null;

create table perch.row_images (
  space_id text collate "C" not null,
  seq      bigint not null,
  old_row  jsonb,
  new_row  jsonb,
  primary key (space_id, seq)
);
comment on table perch.row_images is
  'The rows before and after a change of a synced table, with all their columns, where the log alone does not tell them: what row rules and shapes are evaluated on. Forgotten with the entry of the log.';

create table perch.row_stamps (
  space_id    text collate "C" not null,
  app_id      text collate "C" not null,
  table_name  text collate "C" not null,
  record_id   text collate "C" not null,
  field_meta  jsonb not null default '{}',
  latest_at   timestamptz not null,
  inserted_at timestamptz,
  deleted_at  timestamptz,
  updated_at  timestamptz not null default clock_timestamp(),
  primary key (space_id, app_id, table_name, record_id)
) with (fillfactor = 80);
comment on table perch.row_stamps is
  'When, and by which client, the columns of rows of synced tables were written, as perch.stored_records has it for records: for last writer wins by perch.push. Of deleted rows, too, whose stamps decide a late change.';

-- Down Migration

drop table perch.row_stamps;
drop table perch.row_images;
drop index perch.sync_changes_by_position;
alter table perch.sync_changes drop column position;
update perch.sync_changes set user_id = '' where user_id is null;
alter table perch.sync_changes alter column user_id set not null;
drop table perch.sequencer;
drop table perch.captured_changes;
drop sequence perch.change_position;
drop sequence perch.capture_ordinal;
drop table perch.synced_relations;
