-- Schema versions of the app's own tables, and who rings when many write at once.

-- Up Migration

create table perch.schema_versions (
  app_id          text collate "C" not null,
  table_name      text collate "C" not null,
  current_version integer not null,
  minimum_version integer not null,
  updated_at      timestamptz not null default clock_timestamp(),
  primary key (app_id, table_name),
  check (minimum_version between 1 and current_version)
);
comment on table perch.schema_versions is
  'Which versions of a table''s changes are taken: those older than current are lifted by perch.schema_upgrades, those older than minimum refused. Of a table that is not here every version is taken as it is.';

create table perch.schema_upgrades (
  app_id       text collate "C" not null,
  table_name   text collate "C" not null,
  from_version integer not null check (from_version >= 1),
  upgrade      text not null,
  updated_at   timestamptz not null default clock_timestamp(),
  primary key (app_id, table_name, from_version)
);
comment on table perch.schema_upgrades is 'The function (its signature) that turns a change of one version into one of the next.';

-- Not logged: it is emptied by a crash, which also disconnects everybody who listens; they read everything when they are back.
create unlogged table perch.owed_rings (
  space_id text collate "C" not null,
  seq      bigint not null
) with (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);
comment on table perch.owed_rings is
  'Rings that writers leave to the workers, while one watches: a row is committed with the changes it is about.';

create table perch.watch (
  only_row boolean not null primary key default true check (only_row),
  until    timestamptz not null default '-infinity'
);
comment on table perch.watch is 'Until when a worker has promised to look after perch.owed_rings. Renewed by perch.look.';
insert into perch.watch default values;

-- Down Migration

drop table perch.watch;
drop table perch.owed_rings;
drop table perch.schema_upgrades;
drop table perch.schema_versions;
