-- Presence that more than one process has to know: what several nodes show each other, and what is kept for those who come
-- later. Nothing here is worth a backup; all of it ends by itself.

-- Up Migration

create table perch.presence (
  space_id   text collate "C" not null,
  app_id     text collate "C" not null,
  table_name text collate "C" not null,
  record_id  text collate "C" not null,
  kind       text collate "C" not null check (kind in ('ephemeral', 'persisted')),
  entry_key  bytea not null,
  entry      bytea not null,
  set_at     bigint not null,
  node_id    uuid not null,
  change_id  bigint not null,
  expires_at timestamptz not null,
  primary key (space_id, app_id, table_name, record_id, kind, entry_key)
);
create index presence_by_change on perch.presence (change_id);
create index presence_by_expiry on perch.presence (expires_at);
comment on table perch.presence is
  'The newest entry of each key of the presence rooms that are persisted, or that several nodes may have open.';
comment on column perch.presence.entry is 'Key, value and time, as they stand in an update of Loro''s EphemeralStore.';
comment on column perch.presence.set_at is 'When the client set it, by its own clock, in milliseconds: the newer entry of a key wins.';
comment on column perch.presence.node_id is 'The process that wrote it, which has no need to read it.';
comment on column perch.presence.change_id is 'The number of the call that wrote it; in commit order.';

create table perch.presence_head (
  only_row  boolean not null primary key default true check (only_row),
  change_id bigint not null default 0
);
comment on table perch.presence_head is
  'The last change_id given out. Whoever writes presence locks this row until commit, so that a reader never passes a number that is not there yet.';
insert into perch.presence_head default values;

create table perch.presence_nodes (
  node_id uuid not null primary key,
  seen_at timestamptz not null default clock_timestamp()
);
comment on table perch.presence_nodes is
  'The processes that serve presence rooms, and when each was last heard of: while there is one only, what is not persisted need not be written.';

-- Down Migration

drop table perch.presence_nodes;
drop table perch.presence_head;
drop table perch.presence;
