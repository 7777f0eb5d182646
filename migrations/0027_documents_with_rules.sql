-- Documents in columns of tables with rules: what is asked of a row is asked of its document, too.

-- Up Migration

drop function if exists perch.readable_space(text, text, text[], text[]);
drop function if exists perch.make_row_filter(regclass, text);
drop function if exists perch.spaces_of_users(text[]);

-- A version is as long as the list of all who ever wrote: it is noted only where the tail does not say it any more.
alter table perch.row_documents alter column shown_version drop not null;
comment on column perch.row_documents.shown_version is
  'The version at that position (as document_updates.ends): what a statement that writes the columns is based on. Null: history and tail say it.';

-- Down Migration

drop function if exists perch.make_row_filter(regclass, text, jsonb);
drop function if exists perch.spaces_of_users(text[]);
update perch.row_documents d
   set shown_version = perch.document_version(d.space_id, d.app_id, d.table_name, d.record_id, d.shown_seq)
 where d.shown_version is null;
alter table perch.row_documents alter column shown_version set not null;
