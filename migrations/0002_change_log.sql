-- The change log: a counter for each space, the log itself, the folded records, and what makes a push idempotent.
-- These tables have no check constraints: each is read from its text form again by every statement that writes, which a push of one
-- change feels (4 % of its time). Nobody but the functions of sql/ may write here, and they check before they do.

-- Up Migration

create table perch.space_heads (
  space_id   text collate "C" not null primary key,
  seq        bigint not null default 0,
  oldest_seq bigint not null default 1
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
  op             text not null,
  data           jsonb,
  changed_fields text[],
  field_meta     jsonb,
  at             timestamptz not null,
  deleted_at     timestamptz,
  user_id        text collate "C" not null,
  client_id      text collate "C",
  op_id          text collate "C",
  schema_version integer not null default 1,
  actor          jsonb,
  origin         text,
  size           integer,
  created_at     timestamptz not null default clock_timestamp(),
  primary key (space_id, seq)
);
comment on table perch.sync_changes is
  'The log: one row a change, in commit order within its space. data: the fields written (null for a deletion, and for documents, whose changed_fields perch.pull fills in from the record).';
comment on column perch.sync_changes.at is 'When the change was made, clamped to the server''s clock: decides which writer is the last.';
comment on column perch.sync_changes.field_meta is
  'When each field was written, where that is not at: a time, or a time, a space and the client that wrote it (nothing for none), where that is not client_id.';
comment on column perch.sync_changes.deleted_at is
  'The latest deletion of the record, this change included: so that whoever took a snapshot, which leaves deleted records out, knows what is hidden.';
comment on column perch.sync_changes.size is 'Bytes of the change as JSON, where that is much: bounds a page of perch.pull.';
comment on column perch.sync_changes.changed_fields is 'Of a document only: the fields whose values changed.';

-- perch.export_changes, and the part of the read policy that shows authors their own changes.
create index sync_changes_by_author on perch.sync_changes (user_id, created_at);

create table perch.stored_records (
  space_id    text collate "C" not null,
  app_id      text collate "C" not null,
  table_name  text collate "C" not null,
  record_id   text collate "C" not null,
  data        jsonb not null default '{}',
  long_data   jsonb,
  long_fields text[],
  field_meta  jsonb not null default '{}',
  written_at  timestamptz,
  written_by  text collate "C",
  latest_at   timestamptz not null,
  inserted_at timestamptz,
  deleted_at  timestamptz,
  deleted     boolean not null default false,
  seq         bigint not null,
  schema_version integer not null default 1,
  user_id     text collate "C" not null,
  created_at  timestamptz not null default clock_timestamp(),
  updated_at  timestamptz not null default clock_timestamp(),
  primary key (space_id, app_id, table_name, record_id)
) with (fillfactor = 80);
comment on table perch.stored_records is
  'The folded state of every record, deleted ones included (they keep what decides a late change). Read perch.records instead.';
comment on column perch.stored_records.long_data is
  'Of a document: the fields whose values are long, which are not in data. Null when none is. Postgres keeps a long value apart from its row, and writes it again only when its column changes: so a change to a short field costs nothing of the long ones.';
comment on column perch.stored_records.long_fields is
  'The names of the fields in long_data, so that nobody has to unpack it to know. Null when there are none.';
comment on column perch.stored_records.field_meta is
  'The stamp of each field: when it was written and by which client, as "2026-01-01T10:00:00.000000Z client", the time and the space alone for none. Stamps compare as bytes. A field that is not named here was written at written_at by written_by.';
comment on column perch.stored_records.latest_at is 'No field, insertion or deletion of this record is later: a change that is newer wins without looking further.';
comment on column perch.stored_records.seq is 'The last log entry folded in.';
comment on column perch.stored_records.user_id is 'Who made the record.';

-- The long fields of a document are written anew when one of them has changed. Where the server has lz4, that is several times faster than with
-- the default compression, and no larger by much.
do $$
begin
  if exists (select from pg_settings where name = 'default_toast_compression' and 'lz4' = any (enumvals)) then
    alter table perch.stored_records alter column data set compression lz4, alter column long_data set compression lz4;
  end if;
end
$$;

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
  'One row an applied op_id, in the personal space of its author: a repeat gets the first result, the same op_id with another content (digest) is refused.';
comment on column perch.push_receipts.result is
  'Null while the log still has the entry (same user, op_id and created_at), which holds the result.';
create index push_receipts_by_age on perch.push_receipts (created_at);

-- A change as perch.push passes it from step to step: checked, with its times resolved.
create type perch.change as (
  position       integer,
  space_id       text collate "C",
  table_name     text collate "C",
  record_id      text collate "C",
  op             text,
  data           jsonb,
  field_meta     jsonb,
  at             timestamptz,
  timeless       boolean,
  earliest       timestamptz,
  latest         timestamptz,
  op_id          text collate "C",
  digest         bytea,
  schema_version integer,
  base_seq       bigint,
  actor          jsonb,
  origin         text,
  size           integer,
  is_document    boolean
);
comment on type perch.change is 'Private. One change on its way through perch.push.';

-- The same while it is still as it was sent, of the usual kind.
create type perch.plain_change as (
  op       text,
  "table"  text,
  id       text,
  data     jsonb,
  at       text,
  op_id    text,
  space_id text
);
comment on type perch.plain_change is 'Private. The keys of an ordinary change, as perch.push reads them.';

-- Down Migration

drop type perch.plain_change;
drop type perch.change;
drop table perch.push_receipts;
drop table perch.stored_records cascade;
drop table perch.sync_changes;
drop table perch.log_epoch;
drop table perch.space_heads;
