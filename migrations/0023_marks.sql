-- A number of an event does not identify it: a database that went back, or a thread that was deleted and made again,
-- gives it out once more. And a projection says how long it waited for others, which is no cost of its record.

-- Up Migration

alter table perch.thread_events add column mark bigint not null default 0;
comment on column perch.thread_events.mark is
  'What identifies the event besides its number: drawn at random. 0: it is of before there were marks.';
alter table perch.thread_logs add column archived_mark bigint;
comment on column perch.thread_logs.archived_mark is
  'The mark of the event at archived_until. Null: it was archived before there were marks, or nothing was.';

drop function if exists perch.load_thread_events(text, bigint, integer);
drop function if exists perch.project_document(text, text, text, text, bigint, jsonb, bigint, bigint, integer);

-- Down Migration

drop function if exists perch.project_document(text, text, text, text, bigint, jsonb, bigint, bigint, integer);
drop function if exists perch.load_thread_events(text, bigint, integer, bigint);
alter table perch.thread_logs drop column archived_mark;
alter table perch.thread_events drop column mark;
