-- Checkpoints: for each thread of a tenant a tree of states and a head. A state is stored by its top-level keys: a key whose
-- value did not change since the parent is shared with it, so that a step costs what it changed, not what the state weighs.

-- Up Migration

-- Room on the page keeps the update of every put on it (HOT): no index entry is written.
create table perch.threads (
  tenant_id      text collate "C" not null check (tenant_id <> ''),
  thread_id      text collate "C" not null,
  namespace      text collate "C" not null default '',
  thread_no      bigint not null check (thread_no > 0),
  format         text not null check (format in ('state', 'channels')),
  head_id        uuid,
  newest_id      uuid,
  last_seq       bigint not null default 0,
  last_value_no  integer not null default 0,
  delta_channels text[] not null default '{}',
  created_at     timestamptz not null default clock_timestamp(),
  primary key (tenant_id, thread_id, namespace)
) with (fillfactor = 50);
comment on table perch.threads is
  'Each thread, and the head of its checkpoints. A LangGraph thread has a row more for each subgraph (namespace).';
comment on column perch.threads.thread_no is 'Stands for thread and namespace in the keys of what belongs to them; random, so it tells nothing.';
comment on column perch.threads.format is 'state: written with perch.put_checkpoint; channels: with perch.put_channels. A thread is one or the other.';
comment on column perch.threads.head_id is 'The checkpoint committed last. Null before the first.';
comment on column perch.threads.newest_id is 'The last id made here: the next one is greater, whatever the clock says.';
comment on column perch.threads.last_seq is 'The seq given to the last checkpoint.';
comment on column perch.threads.last_value_no is 'The number given to the last value.';
comment on column perch.threads.delta_channels is 'Channels of which a checkpoint may hold only what was written since an ancestor: pruning keeps those ancestors.';

-- The condition, which is always true, keeps the planner from taking this index for a thread that is looked up by its id: while a
-- table is small both seem to cost the same, and a plan made then is kept.
create unique index threads_by_no on perch.threads (tenant_id, thread_no) where thread_no > 0;

create table perch.stored_checkpoints (
  tenant_id      text collate "C" not null,
  thread_no      bigint not null,
  id             uuid not null,
  parent_id      uuid,
  seq            bigint not null check (seq > 0),
  step           bigint,
  created_at     timestamptz not null default clock_timestamp(),
  schema_version integer,
  next_node      text,
  metadata       jsonb not null default '{}',
  value_nos      integer[] not null,
  channels       jsonb,
  primary key (tenant_id, thread_no, id)
);
comment on table perch.stored_checkpoints is
  'The tree of checkpoints of each thread. Read perch.checkpoints instead, which puts their states together.';
comment on column perch.stored_checkpoints.seq is 'Counts the checkpoints of a thread in the order of their commits.';
comment on column perch.stored_checkpoints.value_nos is 'Which rows of perch.checkpoint_values make up the state.';
comment on column perch.stored_checkpoints.channels is
  'Of a thread of format channels: the rest of what LangGraph calls a checkpoint, and the versions of channels that have no row in perch.checkpoint_values.';

-- The condition is there for the same reason.
create unique index stored_checkpoints_by_seq on perch.stored_checkpoints (tenant_id, thread_no, seq) where seq > 0;

create table perch.checkpoint_values (
  tenant_id text collate "C" not null,
  thread_no bigint not null,
  no        integer not null,
  key       text collate "C",
  version   text,
  type      text,
  json_text text,
  pieces    uuid[],
  bytes     bytea,
  primary key (tenant_id, thread_no, no)
);
comment on table perch.checkpoint_values is
  'The values of top-level keys (or channels) that states are made of, each as JSON text, or as bytes of a type that the writer knows.';
comment on column perch.checkpoint_values.key is 'Null: the value is the whole state, which is no object.';
comment on column perch.checkpoint_values.version is 'Of a channel: its version, as JSON.';
comment on column perch.checkpoint_values.type is 'How the writer encoded it; null: JSON.';
comment on column perch.checkpoint_values.json_text is 'With bytes null as well: a channel that has a version and no value.';
comment on column perch.checkpoint_values.pieces is
  'Of a long value: where its text is in perch.checkpoint_pieces, which other values and writes of the thread may share. One piece is the text itself; several are runs of elements, to be put between the brackets that json_text then holds, with what is between those.';

create table perch.checkpoint_pieces (
  tenant_id text collate "C" not null,
  thread_no bigint not null,
  hash      uuid not null,
  body      text not null,
  primary key (tenant_id, thread_no, hash)
);
comment on table perch.checkpoint_pieces is
  'The text of long values and writes, each piece once a thread: what a task wrote and what became of it is stored once, and a list that grows by an element does not store the others again.';
comment on column perch.checkpoint_pieces.hash is 'The first half of the SHA-256 of body.';

create table perch.checkpoint_writes (
  tenant_id     text collate "C" not null,
  thread_no     bigint not null,
  checkpoint_id uuid not null,
  task_id       text collate "C" not null,
  idx           integer not null,
  channel       text collate "C" not null,
  type          text,
  json_text     text,
  pieces        uuid[],
  bytes         bytea,
  primary key (tenant_id, thread_no, checkpoint_id, task_id, idx)
);
comment on table perch.checkpoint_writes is
  'What the tasks that run on top of a checkpoint have written so far: a step that is resumed does not run them again.';

create table perch.thread_logs (
  tenant_id      text collate "C" not null check (tenant_id <> ''),
  thread_id      text collate "C" not null,
  last_number    bigint not null default 0,
  archived_until bigint not null default 0 check (archived_until between 0 and last_number),
  primary key (tenant_id, thread_id)
) with (fillfactor = 50);
comment on table perch.thread_logs is
  'How far the log of each thread has been written and archived. Kept when every event is archived, so that numbers never start again.';

create table perch.thread_events (
  tenant_id  text collate "C" not null,
  thread_id  text collate "C" not null,
  number     bigint not null,
  event      jsonb not null,
  created_at timestamptz not null default clock_timestamp(),
  primary key (tenant_id, thread_id, number)
);
comment on table perch.thread_events is
  'The log of each thread: events numbered from 1 in commit order, without gaps. What is archived is no longer here.';

create table perch.thread_leases (
  tenant_id  text collate "C" not null check (tenant_id <> ''),
  thread_id  text collate "C" not null,
  holder     text collate "C",
  token      bigint not null,
  expires_at timestamptz not null,
  primary key (tenant_id, thread_id)
) with (fillfactor = 50);
comment on table perch.thread_leases is 'Who works on a thread, and until when if they do not renew. holder null: released.';
comment on column perch.thread_leases.token is 'Grows with every holder: what an earlier one still sends can be told by it and refused.';

-- Down Migration

drop table perch.thread_leases;
drop table perch.thread_events;
drop table perch.thread_logs;
drop table perch.checkpoint_writes;
drop table perch.checkpoint_pieces;
drop table perch.checkpoint_values;
drop table perch.stored_checkpoints;
drop table perch.threads;
