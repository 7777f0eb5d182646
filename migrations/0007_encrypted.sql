-- Documents that are encrypted end to end (%ELO of the Loro protocol): the server has the encrypted records and, of each, which
-- operations of which peer are in it. It decodes nothing, so there are no fields, no records and no merging here.

-- Up Migration

create table perch.encrypted_tables (
  app_id     text collate "C" not null,
  table_name text collate "C" not null,
  created_at timestamptz not null default clock_timestamp(),
  primary key (app_id, table_name)
);
comment on table perch.encrypted_tables is
  'Which tables hold end-to-end encrypted documents: made with perch.declare_encrypted_table.';

create table perch.encrypted_documents (
  space_id   text collate "C" not null,
  app_id     text collate "C" not null,
  table_name text collate "C" not null,
  record_id  text collate "C" not null,
  head_seq   bigint not null default 0,
  life_seq   bigint not null default 0 check (life_seq <= head_seq),
  ended      jsonb not null default '{}',
  stored_bytes bigint not null default 0,
  created_by text collate "C" not null,
  created_at timestamptz not null default clock_timestamp(),
  primary key (space_id, app_id, table_name, record_id)
) with (fillfactor = 50);
comment on table perch.encrypted_documents is 'The position of each encrypted document.';
comment on column perch.encrypted_documents.head_seq is 'The last position given out.';
comment on column perch.encrypted_documents.life_seq is 'Where this life of the document began: the position of its last deletion, or 0.';
comment on column perch.encrypted_documents.stored_bytes is 'What its records measure together.';
comment on column perch.encrypted_documents.ended is
  'What the ended lives had in them, for each peer (in hex) the counter behind its last operation: refused in a later life.';

create table perch.encrypted_records (
  space_id   text collate "C" not null,
  app_id     text collate "C" not null,
  table_name text collate "C" not null,
  record_id  text collate "C" not null,
  seq        bigint not null,
  peer_id    bytea,
  first      bigint,
  next       bigint,
  version    jsonb,
  payload    bytea not null,
  user_id    text collate "C" not null,
  created_at timestamptz not null default clock_timestamp(),
  primary key (space_id, app_id, table_name, record_id, seq),
  check (case when version is null then peer_id is not null and first < next else peer_id is null end)
);
create index encrypted_records_by_span on perch.encrypted_records (space_id, app_id, table_name, record_id, peer_id, next);
comment on table perch.encrypted_records is
  'The encrypted records of each document, as they were sent. A span has the operations first to next (exclusive) of one peer; a snapshot has everything up to version, and is kept only while it has something that no span has.';

create table perch.encrypted_reaches (
  space_id   text collate "C" not null,
  app_id     text collate "C" not null,
  table_name text collate "C" not null,
  record_id  text collate "C" not null,
  peer_id    bytea not null,
  reach      bigint not null,
  primary key (space_id, app_id, table_name, record_id, peer_id)
) with (fillfactor = 50);
comment on table perch.encrypted_reaches is
  'Up to which operation of each peer a document has spans without a gap: the version that readers are told.';

-- Down Migration

drop table perch.encrypted_reaches;
drop table perch.encrypted_records;
drop table perch.encrypted_documents;
drop table perch.encrypted_tables;
