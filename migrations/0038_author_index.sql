-- What nobody is named for, as most of what plain SQL writes to synced tables, is looked for by nobody's name.

-- Up Migration

drop index perch.sync_changes_by_author;
create index sync_changes_by_author on perch.sync_changes (user_id, created_at) where user_id is not null;

-- Down Migration

drop index perch.sync_changes_by_author;
create index sync_changes_by_author on perch.sync_changes (user_id, created_at);
