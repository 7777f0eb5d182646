-- What is captured row by row takes which versions of the row were written: they say in which order it was.

-- Up Migration

alter table perch.captured_changes add column old_version text, add column new_version text;
comment on column perch.captured_changes.old_version is
  'Which version of the row was there before, by the file of its table or partition and the place in it (ctid); null: none, or what captured it sees no versions (perch.capture_statement).';
comment on column perch.captured_changes.new_version is 'Which version of the row this made, as old_version names it.';

-- Down Migration

alter table perch.captured_changes drop column old_version, drop column new_version;
