-- Runs as perch_owner, within a trigger. behind: what triggers of the same statement did to the row after this change,
-- and have noted already; what they wrote over is not noted again, or it would be merged as the later.
create or replace function perch.note_column_write(change perch.captured_changes, behind perch.captured_changes[])
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  columns constant name[] := array(
    select f::name from jsonb_object_keys((perch.document_relation(change.app_id, change.table_name)).documents) f);
  patch jsonb;
begin
  if change.op = 'delete' then
    delete from perch.row_documents d
     where d.space_id = change.space_id and d.app_id = change.app_id and d.table_name = change.table_name
       and d.record_id = change.record_id;
    perform perch.add_column_write(change.space_id, change.app_id, change.table_name, change.record_id, null, null);
  elsif current_setting('perch.projecting', true) is distinct from
    concat(pg_trigger_depth(), perch.projected_row(change.app_id, change.table_name, change.record_id))
  then
    patch := perch.changed_columns(change.old_row, change.new_row, columns) - array(
      select k from unnest(behind) b
       cross join lateral jsonb_object_keys(perch.changed_columns(b.old_row, b.new_row, columns)) k);
    if patch <> '{}' then
      perform perch.add_column_write(change.space_id, change.app_id, change.table_name, change.record_id, patch, null);
    end if;
  end if;
end
$$;

comment on function perch.note_column_write(perch.captured_changes, perch.captured_changes[]) is
  'Private. Leaves what a captured change of a row did to columns that are a document for the workers to merge. behind: later changes of the row that are noted already.';
