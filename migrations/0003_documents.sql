-- Documents: a snapshot plus an append-only tail of Loro updates. A keystroke is one small INSERT into the tail and one
-- in-place update of the document's row; the snapshot is a row of its own, rewritten only when the tail is folded.

-- Up Migration

create table perch.document_tables (
  app_id     text collate "C" not null,
  table_name text collate "C" not null,
  fields     jsonb not null,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  primary key (app_id, table_name)
);
comment on table perch.document_tables is
  'Which tables hold documents, and the kind of each field: made with perch.declare_table.';

-- Room on the page keeps the update of every keystroke on it (HOT): no index entry is written.
create table perch.documents (
  space_id         text collate "C" not null,
  app_id           text collate "C" not null,
  table_name       text collate "C" not null,
  record_id        text collate "C" not null,
  head_seq         bigint not null default 0,
  merged_seq       bigint not null default 0 check (merged_seq <= head_seq),
  projected_seq    bigint not null default 0,
  snapshot_seq     bigint not null default 0 check (snapshot_seq <= merged_seq),
  tail_from        bigint not null default 0 check (tail_from <= snapshot_seq),
  life_seq         bigint not null default 0,
  tail_count       bigint not null default 0,
  tail_bytes       bigint not null default 0,
  projection_bytes bigint not null default 0,
  created_by       text collate "C" not null,
  created_at       timestamptz not null default clock_timestamp(),
  primary key (space_id, app_id, table_name, record_id)
) with (fillfactor = 50);
comment on table perch.documents is 'The positions of each document. Its content is in its snapshot and its tail.';
comment on column perch.documents.head_seq is 'The last position given out.';
comment on column perch.documents.merged_seq is 'The last position readers see: everything up to it is decoded and merged.';
comment on column perch.documents.projected_seq is 'The position that its record shows.';
comment on column perch.documents.snapshot_seq is 'The position that its snapshot covers; 0: none.';
comment on column perch.documents.tail_from is 'Updates up to here are forgotten: only the snapshot has them.';
comment on column perch.documents.life_seq is 'Where this life of the document began: the position of its last deletion, or 0.';
comment on column perch.documents.tail_count is 'Updates behind the snapshot.';
comment on column perch.documents.tail_bytes is 'Bytes of the updates behind the snapshot.';
comment on column perch.documents.projection_bytes is 'Size of the last projection as JSON text; decides how long the next may wait.';

create table perch.document_tombstones (
  space_id   text collate "C" not null,
  app_id     text collate "C" not null,
  table_name text collate "C" not null,
  record_id  text collate "C" not null,
  seq        bigint not null,
  version    jsonb not null default '{}',
  deleted_by text collate "C" not null,
  deleted_at timestamptz not null default clock_timestamp(),
  primary key (space_id, app_id, table_name, record_id)
);
comment on table perch.document_tombstones is
  'The position at which a document was deleted: one created again under its id goes on counting from there, so that no reader or writer of the old life takes the new one for it.';
comment on column perch.document_tombstones.version is
  'What the ended lives had in them, for each Loro peer the counter behind its last operation: these operations are refused in a later life.';

create table perch.document_snapshots (
  space_id   text collate "C" not null,
  app_id     text collate "C" not null,
  table_name text collate "C" not null,
  record_id  text collate "C" not null,
  seq        bigint not null,
  snapshot   bytea not null,
  version    bytea,
  created_at timestamptz not null default clock_timestamp(),
  primary key (space_id, app_id, table_name, record_id)
);
comment on table perch.document_snapshots is 'The Loro snapshot of a document, with its full history, covering the tail up to seq.';
comment on column perch.document_snapshots.version is
  'The version vector of the snapshot, as Loro encodes it, told by whoever made it; null: read it off the snapshot.';
-- Loro snapshots are compressed already.
alter table perch.document_snapshots alter column snapshot set storage external;

create table perch.document_updates (
  space_id   text collate "C" not null,
  app_id     text collate "C" not null,
  table_name text collate "C" not null,
  record_id  text collate "C" not null,
  seq        bigint not null,
  pushed_seq bigint,
  payload    bytea not null,
  ends       jsonb,
  user_id    text collate "C" not null,
  client_id  text collate "C",
  actor      jsonb,
  created_at timestamptz not null default clock_timestamp(),
  primary key (space_id, app_id, table_name, record_id, seq)
);
comment on table perch.document_updates is
  'The tail: decoded and merged Loro updates, in commit order within a document.';
comment on column perch.document_updates.pushed_seq is
  'The position that perch.push_update or perch.patch_document returned to its caller, when the update came that way.';
comment on column perch.document_updates.ends is
  'For each Loro peer in the update, the counter behind its last operation: {"<peer>": 42}. What the updates up to a position have in common with a version vector.';
alter table perch.document_updates alter column payload set storage external;

create table perch.document_history (
  space_id   text collate "C" not null,
  app_id     text collate "C" not null,
  table_name text collate "C" not null,
  record_id  text collate "C" not null,
  seq        bigint not null,
  first_seq  bigint not null check (first_seq <= seq),
  updates    bigint not null,
  bytes      bigint not null,
  ends       jsonb,
  user_id    text collate "C" not null,
  client_id  text collate "C",
  actor      jsonb,
  first_at   timestamptz not null,
  last_at    timestamptz not null,
  primary key (space_id, app_id, table_name, record_id, seq)
);
comment on table perch.document_history is
  'Who wrote the part of a document whose updates are forgotten (the snapshot has them): one row for a stretch of updates of one author without a pause, from first_seq to seq.';
comment on column perch.document_history.ends is 'As in perch.document_updates, after the whole stretch.';

create table perch.document_inbox (
  space_id   text collate "C" not null,
  app_id     text collate "C" not null,
  table_name text collate "C" not null,
  record_id  text collate "C" not null,
  seq        bigint not null,
  kind       text not null check (kind in ('update', 'patch')),
  payload    bytea,
  patch      jsonb,
  base_seq   bigint,
  user_id    text collate "C" not null,
  client_id  text collate "C",
  actor      jsonb,
  op_id      text collate "C",
  status     text not null default 'pending' check (status in ('pending', 'rejected')),
  error      jsonb,
  created_at timestamptz not null default clock_timestamp(),
  primary key (space_id, app_id, table_name, record_id, seq),
  check ((kind = 'update') = (payload is not null)),
  check ((kind = 'patch') = (patch is not null)),
  check ((status = 'rejected') = (error is not null))
);
comment on table perch.document_inbox is
  'What SQL callers appended and no worker has merged yet (pending), and what was set aside because it could not be merged (rejected, with its error).';
create index document_inbox_pending on perch.document_inbox (created_at) where status = 'pending';
create index document_inbox_rejected on perch.document_inbox (created_at) where status = 'rejected';

create table perch.document_queue (
  space_id   text collate "C" not null,
  app_id     text collate "C" not null,
  table_name text collate "C" not null,
  record_id  text collate "C" not null,
  due_at     timestamptz not null,
  primary key (space_id, app_id, table_name, record_id)
);
comment on table perch.document_queue is 'Documents whose record does not show their latest position yet. due_at: since when; in the future while a worker has claimed the document.';
create index document_queue_by_due on perch.document_queue (due_at);

-- Down Migration

drop table perch.document_queue;
drop table perch.document_inbox;
drop table perch.document_history;
drop table perch.document_updates;
drop table perch.document_snapshots;
drop table perch.document_tombstones;
drop table perch.documents;
drop table perch.document_tables;
