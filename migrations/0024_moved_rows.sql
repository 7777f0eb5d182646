-- Rows that moved out of a space whose counter somebody holds: what they became elsewhere waits with them (perch.keep_with_held).

-- Up Migration

create index captured_changes_queued_deletes on perch.captured_changes (app_id, table_name, record_id)
  where queued is not null and op = 'delete';

-- Down Migration

drop index perch.captured_changes_queued_deletes;
