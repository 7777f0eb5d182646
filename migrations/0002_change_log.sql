-- The change log: a counter for each space, the log itself, the folded records, and what makes a push idempotent.

-- Up Migration

create table perch.space_heads (
  space_id   text collate "C" not null primary key,
  seq        bigint not null default 0 check (seq >= 0),
  oldest_seq bigint not null default 1 check (oldest_seq between 1 and seq + 1)
) with (fillfactor = 50);
comment on table perch.space_heads is
  'The counter of each space. A transaction takes it last and holds it until commit, so that within a space the order of seq is the order of commit, without gaps. oldest_seq: the first entry that is still retained.';

create table perch.log_epoch (
  only_row boolean not null primary key default true check (only_row),
  epoch    uuid not null
);
comment on table perch.log_epoch is
  'Names this history of the log. Changed by perch.new_epoch after a restore, so that cursors from before it are refused.';
insert into perch.log_epoch (epoch) values (gen_random_uuid());

create table perch.sync_changes (
  space_id       text collate "C" not null,
  seq            bigint not null,
  app_id         text collate "C" not null,
  table_name     text collate "C" not null,
  record_id      text collate "C" not null,
  op             text not null check (op in ('insert', 'update', 'delete')),
  data           jsonb,
  changed_fields text[],
  field_meta     jsonb,
  at             timestamptz not null,
  user_id        text collate "C" not null,
  client_id      text collate "C",
  op_id          text collate "C",
  schema_version integer not null default 1,
  actor          jsonb,
  origin         text,
  created_at     timestamptz not null default clock_timestamp(),
  primary key (space_id, seq)
);
comment on table perch.sync_changes is
  'The log: one row a change, in commit order within its space. data: the fields written (null for a deletion, and for documents, whose changed_fields perch.pull fills in from the record).';
comment on column perch.sync_changes.at is 'When the change was made, clamped to the server''s clock: decides which writer is the last.';
comment on column perch.sync_changes.changed_fields is 'Of a document only: the fields whose values changed.';

-- perch.export_changes, and the part of the read policy that shows authors their own changes.
create index sync_changes_by_author on perch.sync_changes (user_id, created_at);

create table perch.stored_records (
  space_id    text collate "C" not null,
  app_id      text collate "C" not null,
  table_name  text collate "C" not null,
  record_id   text collate "C" not null,
  data        jsonb not null default '{}',
  field_meta  jsonb not null default '{}',
  latest_at   timestamptz not null,
  inserted_at timestamptz,
  deleted_at  timestamptz,
  deleted     boolean not null default false,
  seq         bigint not null,
  user_id     text collate "C" not null,
  created_at  timestamptz not null default clock_timestamp(),
  updated_at  timestamptz not null default clock_timestamp(),
  primary key (space_id, app_id, table_name, record_id)
) with (fillfactor = 80);
comment on table perch.stored_records is
  'The folded state of every record, deleted ones included (they keep what decides a late change). Read perch.records instead.';
comment on column perch.stored_records.latest_at is 'No field, insertion or deletion of this record is later: a change that is newer wins without looking further.';
comment on column perch.stored_records.seq is 'The last log entry folded in.';
comment on column perch.stored_records.user_id is 'Who made the record.';

create index stored_records_by_author on perch.stored_records (user_id);

create table perch.push_receipts (
  space_id   text collate "C" not null,
  op_id      text collate "C" not null,
  digest     bytea not null,
  result     jsonb,
  created_at timestamptz not null default clock_timestamp(),
  primary key (space_id, op_id)
);
comment on table perch.push_receipts is
  'One row an applied op_id, in the personal space of its author: a repeat gets the stored result, the same op_id with another content (digest) is refused.';
create index push_receipts_by_age on perch.push_receipts (created_at);

-- Down Migration

drop table perch.push_receipts;
drop table perch.stored_records cascade;
drop table perch.sync_changes;
drop table perch.log_epoch;
drop table perch.space_heads;
