-- What plain SQL wrote to a row of a synced table, and when: for perch.row_history.

-- Up Migration

create index sync_changes_by_row on perch.sync_changes (space_id, app_id, table_name, record_id, seq)
  where position is not null and op_id is null;

-- Down Migration

drop index perch.sync_changes_by_row;
