-- Also where the rules are gone, or other columns are synced now: what was logged then is not what a reader is to be
-- given (perch.note_synced_table).
create or replace function perch.ruled_tables(app_id text, tables text[])
returns text[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return array(
    select r.table_name from perch.synced_relations r
     where r.app_id = ruled_tables.app_id and (ruled_tables.tables is null or r.table_name = any (ruled_tables.tables))
       and r.rules_mark is not null
    union
    select c.table_name from perch.closed_logs c
     where c.app_id = ruled_tables.app_id and c.position > 0
       and (ruled_tables.tables is null or c.table_name = any (ruled_tables.tables)));
end
$$;

comment on function perch.ruled_tables(text, text[]) is
  'Private. Of which of these tables of an app (null: of all) not everything in the log is for every reader of its space: those with a row_filter or column_roles, those that had any or whose columns are others than they were, and those that had any and are not synced any more.';
