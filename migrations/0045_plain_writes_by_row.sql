-- What was written plainly to a row is found by its id again. A number made of the id is found by no index where a policy holds: only what
-- Postgres knows to tell nothing of the row (leakproof) may be looked up before the policy has been asked.

-- Up Migration

drop index perch.sync_changes_by_row;
create index sync_changes_by_row on perch.sync_changes (space_id, app_id, table_name, record_id, seq)
  where position is not null and op_id is null and octet_length(record_id) <= 255;
-- By how it begins: with a space, an app and a table beside it a long one is more than an index takes.
create index sync_changes_by_long_row on perch.sync_changes (space_id, app_id, table_name, (record_id::name), seq)
  where position is not null and op_id is null and octet_length(record_id) > 255;

-- Down Migration

drop index perch.sync_changes_by_long_row;
drop index perch.sync_changes_by_row;
create index sync_changes_by_row on perch.sync_changes
  (space_id, app_id, table_name, hashtextextended(record_id, 0), seq)
  where position is not null and op_id is null;
