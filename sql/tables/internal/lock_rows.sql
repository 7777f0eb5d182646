-- Lock order: the rows of each table by their keys, before documents and counters (docs/architecture.md, "The order of
-- locks").
create or replace function perch.lock_rows(changes perch.change[], app_id text)
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  relation perch.synced_relations;
begin
  for relation in
    select r.* from perch.synced_relations r
     where r.app_id = lock_rows.app_id and r.table_name = any (array(select c.table_name from unnest(changes) c))
     order by r.table_name
  loop
    begin
      perform perch.find_rows(relation, perch.key_columns(relation.relation), array(
        select distinct perch.row_key(relation.relation, c.record_id) from unnest(changes) c
          where c.table_name = relation.table_name),
        to_lock => true, is_new => false);
    exception when data_exception or integrity_constraint_violation then
      -- One of the ids is no key of this table, which is told when it is tried.
      null;
    end;
  end loop;
end
$$;

comment on function perch.lock_rows(perch.change[], text) is
  'Private. Locks the rows that changes of synced tables are about, as far as they are there and the user may write them.';
