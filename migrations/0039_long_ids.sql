-- A key may be as long as its index takes, and with a space, an app and a table beside it is too long for another: the
-- sequencer could not go on. So what is found by a row is found by a number made of its id.

-- Up Migration

drop index perch.sync_changes_by_row;
create index sync_changes_by_row on perch.sync_changes
  (space_id, app_id, table_name, hashtextextended(record_id, 0), seq)
  where position is not null and op_id is null;

drop index perch.captured_changes_queued_deletes;
create index captured_changes_queued_deletes on perch.captured_changes
  (app_id, table_name, hashtextextended(record_id, 0))
  where queued is not null and op = 'delete';

-- What the log cannot take for any other reason waits, and nobody else with it.
alter table perch.sequencer add column stuck jsonb not null default '{}';
comment on column perch.sequencer.stuck is
  'Spaces whose captured changes the log did not take, as {"<space_id>": {"at": …, "reason": …}}: they wait in their lines, and are tried again each minute.';

-- Down Migration

alter table perch.sequencer drop column stuck;

drop index perch.sync_changes_by_row;
create index sync_changes_by_row on perch.sync_changes (space_id, app_id, table_name, record_id, seq)
  where position is not null and op_id is null;

drop index perch.captured_changes_queued_deletes;
create index captured_changes_queued_deletes on perch.captured_changes (app_id, table_name, record_id)
  where queued is not null and op = 'delete';
