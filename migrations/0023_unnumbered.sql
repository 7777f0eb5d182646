-- A change of a record whose space's counter somebody holds does not wait for it: it is captured beside those of synced tables, and gets
-- its number from the sequencer.

-- Up Migration

alter table perch.captured_changes
  add column at             timestamptz,
  add column deleted_at     timestamptz,
  add column changed_fields text[],
  add column field_meta     jsonb,
  add column schema_version integer,
  add column actor          jsonb,
  add column origin         text,
  add column size           integer;
comment on table perch.captured_changes is
  'What was written and has no number yet: to synced tables, and to records while the counter of their space was taken. A queue that writers fill in their own transactions, and the sequencer empties. A row that moves from one space to another is a deletion in the one and an insertion in the other.';
comment on column perch.captured_changes.at is
  'Of a change of a record, and null for rows: as in the log, like all columns from here on.';
comment on column perch.captured_changes.new_row is
  'All columns of the row after (null for a deletion). Of a record: what the log is to have in data.';

-- Whether anything of a space waits for its number is asked with every push.
create index captured_changes_by_space on perch.captured_changes (space_id);

comment on column perch.sync_changes.position is
  'Of a change that got its number from the sequencer, as every change of a synced table does: its place in one order over all spaces. With gaps; what is committed later has a greater one. Null for all other changes.';
comment on column perch.stored_records.seq is
  'All changes of this record up to this number are in it; the last of them may have a greater one.';

-- They have other arguments now.
drop function if exists perch.number_changes(perch.change[], timestamptz);
drop function if exists perch.write_changes(perch.change[], bigint[], text, text, text, timestamptz);
drop function if exists perch.write_each(perch.change[], text, text, text, timestamptz, jsonb[]);
drop function if exists perch.push_documents(perch.change[], text, text, jsonb[], text[], jsonb);
-- Nobody waits for a counter any more.
drop function if exists perch.next_seq(text, timestamptz);
drop function if exists perch.lock_heads(text[]);

-- Down Migration

drop index perch.captured_changes_by_space;
alter table perch.captured_changes
  drop column at, drop column deleted_at, drop column changed_fields, drop column field_meta, drop column schema_version,
  drop column actor, drop column origin, drop column size;
