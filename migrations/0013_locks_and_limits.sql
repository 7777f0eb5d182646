-- Locks and limits that a login of the app can neither take nor change: rows of tables that only perch's own roles may write.

-- Up Migration

-- Not logged: a row says nothing but that somebody may have it locked, and whoever finds none makes one.
create unlogged table perch.document_locks (
  space_id   text collate "C" not null,
  app_id     text collate "C" not null,
  table_name text collate "C" not null,
  record_id  text collate "C" not null,
  purpose    text collate "C" not null check (purpose in ('write', 'merge')),
  created_at timestamptz not null default clock_timestamp(),
  primary key (space_id, app_id, table_name, record_id, purpose)
);
create index document_locks_by_age on perch.document_locks (created_at);
comment on table perch.document_locks is
  'Rows to lock (perch.hold_document), for documents that may not exist yet: write, for those who ask for perch.lock_document; merge, for the one worker that merges a document''s inbox.';

-- Of functions that are gone, or have other arguments now.
drop function if exists perch.push_documents(perch.change[], text, text, jsonb[]);
drop function if exists perch.lock_key(text[]);
drop function if exists perch.add_long_write(text, bigint, uuid, text, integer, text, text, boolean);

create table perch.limits (
  name   text collate "C" not null primary key,
  value  bigint not null check (value >= 0),
  set_at timestamptz not null default clock_timestamp()
);
comment on table perch.limits is
  'The limits that a DBA has set with perch.set_limit; of the others perch has its own. A table, because any login may change a setting of its session.';
-- What was set for the database, where it was done until now.
insert into perch.limits (name, value)
select split_part(s.name, '=', 1), split_part(s.name, '=', 2)::bigint
  from pg_db_role_setting d
 cross join lateral (select substring(c from 7) as name from unnest(d.setconfig) c where c ~ '^perch[.][a-z_]+=\d{1,18}$') s
 where d.setdatabase = (select oid from pg_database where datname = current_database()) and d.setrole = 0;

-- Down Migration

drop table perch.limits;
drop table perch.document_locks;
