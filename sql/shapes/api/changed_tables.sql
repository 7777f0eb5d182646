-- With the rights of whoever calls: perch_worker sees the log of all. While no worker gives out numbers it does so
-- itself.
create or replace function perch.changed_tables(after_position bigint)
returns table (app_id text, table_name text, space_id text, "position" bigint)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  perform perch.number_waiting();
  return query
    select l.app_id, l.table_name, l.space_id, max(l.position)
      from perch.sync_changes l where l.position > changed_tables.after_position
     group by l.app_id, l.table_name, l.space_id;
end
$$;
grant execute on function perch.changed_tables to perch_worker;

comment on function perch.changed_tables(bigint) is
  'For perch_worker: which synced tables have changed in which spaces since a position, and up to which. Example: select * from perch.changed_tables(after_position => 0);';
