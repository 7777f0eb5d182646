-- Documents in columns of synced tables: what a column shows, and what others than its document wrote into it.

-- Up Migration

create table perch.row_documents (
  space_id      text collate "C" not null,
  app_id        text collate "C" not null,
  table_name    text collate "C" not null,
  record_id     text collate "C" not null,
  shown_seq     bigint not null,
  shown_version jsonb not null,
  refused       jsonb,
  primary key (space_id, app_id, table_name, record_id)
);
create index row_documents_by_row on perch.row_documents (app_id, table_name, record_id);
comment on table perch.row_documents is
  'The rows of synced tables whose columns have become a document. Written under the lock of the typed row alone: whoever holds that reads what the columns show.';
comment on column perch.row_documents.shown_seq is 'The position of the document that the columns show.';
comment on column perch.row_documents.shown_version is
  'The version at that position (as document_updates.ends): what a statement that writes the columns is based on.';
comment on column perch.row_documents.refused is 'Why the table did not take what the document had last, until it takes it: code, message, position.';

create sequence perch.column_write_ordinal cache 1;
create table perch.column_writes (
  space_id   text collate "C" not null,
  app_id     text collate "C" not null,
  table_name text collate "C" not null,
  record_id  text collate "C" not null,
  ordinal    bigint not null,
  patch      jsonb,
  base       jsonb,
  user_id    text collate "C" not null,
  client_id  text collate "C",
  written_at timestamptz not null default clock_timestamp(),
  placed     bigint,
  ends       jsonb,
  error      jsonb,
  primary key (space_id, app_id, table_name, record_id, ordinal)
);
create index column_writes_waiting on perch.column_writes (ordinal) where placed is null;
comment on table perch.column_writes is
  'What plain statements wrote into columns that are documents: a queue that they fill in their own transactions, and workers merge into the documents. Kept until the columns show the outcome, since later statements are based on it.';
comment on column perch.column_writes.ordinal is 'Taken while the row is locked: in the order in which the row was written.';
comment on column perch.column_writes.patch is 'The new values of the columns that were changed; null: the row was deleted, and the document ends.';
comment on column perch.column_writes.base is 'The version it is based on, together with what was written before it; null: as row_documents.shown_version has it.';
comment on column perch.column_writes.placed is 'The position of the document that has it; null: it waits to be merged.';
comment on column perch.column_writes.ends is 'What it is in the document (as document_updates.ends).';
comment on column perch.column_writes.error is 'Why the document did not take it.';

-- They take, or return, one thing more now.
drop function if exists perch.project_document(text, text, text, text, bigint, jsonb, bigint, bigint, integer);
drop function if exists perch.open_in_transaction(text, text, text, text, boolean, text[], bigint[], bigint[]);
drop function if exists perch.make_documents(perch.tail_append[]);
drop function if exists perch.make_sync_triggers(regclass, text[], boolean);

-- Down Migration

drop table perch.column_writes;
drop sequence perch.column_write_ordinal;
drop table perch.row_documents;
