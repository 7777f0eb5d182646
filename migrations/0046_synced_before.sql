-- What is noted of a synced table takes whether its rows have the ids that they had.

-- Up Migration

drop function if exists perch.note_synced_table(
  regclass, text, text, name, text, text, name[], name[], jsonb, text, jsonb, boolean, text, boolean);
comment on table perch.closed_logs is
  'Synced tables that were taken out of the log: where they had rules (row_filter, column_roles), their entries up to this position are shown to nobody; else it is 0.';

-- Down Migration

drop function if exists perch.note_synced_table(
  regclass, text, text, name, text, text, name[], name[], jsonb, text, jsonb, boolean, text, boolean, boolean);
delete from perch.closed_logs where position = 0;
comment on table perch.closed_logs is
  'Synced tables that had rules (row_filter, column_roles) when they were taken out of the log: their entries up to this position are shown to nobody.';
