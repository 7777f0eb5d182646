-- Readers of services: search indexes, webhooks. They read chosen apps over all spaces, in one order.

-- Up Migration

create table perch.readers (
  reader        text collate "C" not null primary key,
  app_ids       text[] collate "C" not null,
  login         name,
  registered_by name not null default session_user,
  registered_at timestamptz not null default clock_timestamp(),
  last_read_at  timestamptz,
  last_read_by  name
);
comment on table perch.readers is
  'Who reads chosen apps over all spaces (perch.register_reader): by a token, or as a login; who let them, and when they last read.';

create sequence perch.commit_ordinal;

create table perch.commit_order (
  ordinal   bigint not null primary key,
  txid      xid8 not null,
  space_id  text collate "C" not null,
  first_seq bigint not null,
  last_seq  bigint not null,
  at        timestamptz not null default clock_timestamp(),
  position  bigint
);
create unique index commit_order_by_position on perch.commit_order (position) where position is not null;
create index commit_order_waiting on perch.commit_order (txid, ordinal) where position is null;
comment on table perch.commit_order is
  'While there are readers of services: which entries of which space a transaction has logged, and its place in one order over all spaces; null until somebody reads.';

-- Down Migration

drop table perch.commit_order;
drop sequence perch.commit_ordinal;
drop table perch.readers;
