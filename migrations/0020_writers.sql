-- One writer of a document's tail, which takes what it appends as rows. What is listed here has other arguments from now on, or is gone.

-- Up Migration

create type perch.tail_append as (
  entry            integer,
  space_id         text collate "C",
  app_id           text collate "C",
  table_name       text collate "C",
  record_id        text collate "C",
  after_seq        bigint,
  after_revision   bigint,
  revision         bigint,
  updates          bigint,
  bytes            bigint,
  created_by       text collate "C",
  projection_bytes bigint
);
comment on type perch.tail_append is
  'Private. A document whose tail perch.append_to_tail is to go on from a position (after_seq, which after_revision identifies; null: only the numbers are compared), by so many updates and bytes. revision identifies the position it then has; created_by: who makes the document where there is none; projection_bytes: how long its record is, where the caller writes that as well (null: a worker is to).';

create type perch.tail_update as (
  entry           integer,
  nth             integer,
  pushed_seq      bigint,
  pushed_revision bigint,
  payload         bytea,
  ends            jsonb,
  user_id         text collate "C",
  client_id       text collate "C",
  actor           jsonb
);
comment on type perch.tail_update is
  'Private. A decoded update on its way into the tail of the document that is its entry, as the nth of those that go there.';

create type perch.record_difference as (
  is_new      boolean,
  changed     text[],
  short       jsonb,
  long        jsonb,
  long_fields text[],
  moves       boolean,
  bytes       integer
);
comment on type perch.record_difference is
  'Private. How the record of a document is to change (perch.compare_record): the names of the fields that do (null: none), what is to stand in data (short) and, if moves, in long_data (long; otherwise that stays as it is), long_fields, and how long the record then is, as perch.record_size says it.';

drop trigger if exists notify on perch.document_updates;

drop function if exists perch.project_document(text, text, text, text, bigint, jsonb, bigint, bigint);
drop function if exists perch.fold_document(text, text, text, text, bytea, bigint, bytea, bigint);
drop function if exists perch.claim_inbox(text, text, text, text, integer);

-- Down Migration

drop type perch.record_difference;
drop type perch.tail_update;
drop type perch.tail_append;
