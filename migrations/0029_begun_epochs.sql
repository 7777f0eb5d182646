-- Why an epoch of the log was begun, and what was found gone then.

-- Up Migration

create table perch.begun_epochs (
  epoch    uuid primary key,
  begun_at timestamptz not null default clock_timestamp(),
  reason   text not null,
  lost     jsonb not null default '{}'
);
comment on table perch.begun_epochs is
  'Epochs of the log that a worker began because the database was another, or had gone back (perch.check_history). lost: of each space of which the worker had read entries that are gone, how far it had read (seen) and how far the log goes now (head).';

-- It takes the reason and what is lost now.
drop function if exists perch.begin_epoch(text, text, text, boolean);

-- Down Migration

drop table perch.begun_epochs;
