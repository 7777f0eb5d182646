-- What tells one history of the log from another, for a database that went back (a failover to a standby that lacked commits, a volume
-- snapshot, a backup) and gives its numbers out again.

-- Up Migration

alter table perch.space_heads add column before_oldest text;
comment on column perch.space_heads.before_oldest is
  'What perch.entry_mark says of the entry before the oldest: a cursor may stand there when it is forgotten. Null where nothing was forgotten.';

alter table perch.log_epoch add column server text;
comment on column perch.log_epoch.server is
  'Which server, timeline and database this epoch was begun on (perch.server_identity), as the first worker found it. On another, a worker begins a new epoch (perch.check_history).';

-- Down Migration

alter table perch.log_epoch drop column server;
alter table perch.space_heads drop column before_oldest;
