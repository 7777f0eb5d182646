-- The triggers name the column by the name it had when they were made.
create or replace function perch.renamed_space(relation oid, "row" jsonb)
returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select "row" ->> a.attname
    from perch.synced_relations r
    join pg_attribute a on a.attrelid = r.relation and a.attnum = r.space_column_number and not a.attisdropped
   where r.relation = renamed_space.relation
$$;
grant execute on function perch.renamed_space to perch_worker;

comment on function perch.renamed_space(oid, jsonb) is
  'Private. The space of a row whose space column was renamed since perch.sync_table; null for no row, and where the column is gone.';
