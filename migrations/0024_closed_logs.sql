-- What is in the log of a table that had rules and is not synced any more: nobody can tell who may see it.

-- Up Migration

create table perch.closed_logs (
  app_id     text collate "C" not null,
  table_name text collate "C" not null,
  position   bigint not null,
  primary key (app_id, table_name)
);
comment on table perch.closed_logs is
  'Synced tables that had rules (row_filter, column_roles) when they were taken out of the log: their entries up to this position are shown to nobody.';

alter table perch.synced_relations add column reads_more boolean not null default false;
comment on column perch.synced_relations.reads_more is
  'Whether what row_filter says of a row may change while the row does not: it reads other tables, say, or the time.';

-- It takes one argument more now.
drop function if exists perch.note_synced_table(regclass, text, text, name, text, text, name[], name[], jsonb, text, jsonb, boolean, text);
-- It returns more now.
drop function if exists perch.make_row_filter(regclass, text);

-- Down Migration

alter table perch.synced_relations drop column reads_more;
drop table perch.closed_logs;
