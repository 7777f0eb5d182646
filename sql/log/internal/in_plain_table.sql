-- Of a set, so that a query that asks it takes it in as its own part: a function that gives one value and looks into
-- tables is called, which costs a statement more.
create or replace function perch.in_plain_table(app_id text, table_name text)
returns setof boolean
language sql stable
as $$
  select true
   where not exists (
       select from perch.document_tables d
        where d.app_id = in_plain_table.app_id and d.table_name = in_plain_table.table_name)
     and not exists (
       select from perch.encrypted_tables e
        where e.app_id = in_plain_table.app_id and e.table_name = in_plain_table.table_name)
     and not exists (
       select from perch.synced_relations r
        where r.app_id = in_plain_table.app_id and r.table_name = in_plain_table.table_name)
     and not exists (
       select from perch.schema_versions v
        where v.app_id = in_plain_table.app_id and v.table_name = in_plain_table.table_name
          and v.current_version <> 1);
$$;

comment on function perch.in_plain_table(text, text) is
  'Private. One row where a table has plain records whose schema has one version; none where it has documents, encrypted ones, rows of a synced table, or later versions.';
