-- Fires behind the trigger that captured the statement (Postgres goes by their names), whose rows it reads again by
-- the number that was taken for them. They say already what became what, and in which space. (What was put before what
-- triggers of the statement did has another number now: perch.place_outer has noted it.)
--
-- What the statement is based on is what the columns show. That is not noted here: it stays so until this write is
-- merged. perch.project_columns, which writes the columns and what they show, needs the lock of the row, which this
-- statement has, and waits while a write is there; so the worker reads it then (perch.claim_column_writes). In a
-- transaction that is not read committed, row_documents may look older here than it is, so all that is written is
-- noted; where the row turns out to be no document, it goes. Its columns are not older: if they had been changed, the
-- statement would have failed (40001).
--
-- Of a table that is captured row by row, triggers may have written the row again before this one fires, and have noted
-- that: what the row no longer shows is not noted behind it.
create or replace function perch.note_column_writes()
returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  sees_latest constant boolean := current_setting('transaction_isolation') in ('read committed', 'read uncommitted');
  may_be_behind constant boolean := tg_level = 'ROW' and current_setting('perch.nested', true) <> '';
  changed perch.captured_changes;
  since perch.captured_changes;
  behind perch.captured_changes[] := '{}';
begin
  for changed in
    select c.*
      from perch.captured_changes c
      left join perch.row_documents d
        on d.space_id = c.space_id and d.app_id = c.app_id and d.table_name = c.table_name and d.record_id = c.record_id
     where c.ordinal = currval('perch.capture_ordinal') and c.txid = pg_current_xact_id()
       and c.app_id = tg_argv[0] and c.table_name = tg_argv[1] and c.op in ('update', 'delete')
       and (d.record_id is not null or not sees_latest)
     order by c.nth
  loop
    if may_be_behind and changed.op = 'update' then
      since := changed;
      since.old_row := changed.new_row;
      execute perch.row_under_key((perch.document_relation(changed.app_id, changed.table_name)).relation, '$1')
        into since.new_row using changed.new_row;
      continue when since.new_row is null;
      behind := array[since];
    end if;
    perform perch.note_column_write(changed, behind);
  end loop;
  return null;
end
$$;

comment on function perch.note_column_writes() is
  'Private. Trigger of synced tables with documents in columns, behind each statement (of partitioned tables: each row) that updates or deletes, and TRUNCATE: what was written to the columns is left for the workers to merge.';
