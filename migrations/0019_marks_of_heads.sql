-- What identifies the last entry of a space's log, beside its number: so a reader who stands there is told that nothing is new without
-- a look at the log.

-- Up Migration

alter table perch.space_heads add column mark text;
comment on column perch.space_heads.mark is
  'What perch.entry_mark says of the entry at seq. Null where nothing was logged since this column is there: then the log says it.';

-- They have other arguments now.
drop function if exists perch.next_seq(text, bigint);
drop function if exists perch.number_changes(perch.change[]);
drop function if exists perch.entry_mark(timestamptz, text, text, text, text, text, text);

-- Down Migration

alter table perch.space_heads drop column mark;
