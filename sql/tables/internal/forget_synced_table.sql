-- Of one that had rules nobody could tell any more who may see what is in the log: it is closed.
--
-- What was captured and has no number yet goes, too: nobody could tell any more which of its columns may be shown. So
-- do the declarations of documents, whose rules were those of the table. All of it also where the table is to have
-- another name in the log.
create or replace function perch.forget_synced_table(relation regclass)
returns void
language sql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
  select perch.close_log(r) from perch.synced_relations r where r.relation = forget_synced_table.relation;
  with forgotten as (
    delete from perch.synced_relations r where r.relation = forget_synced_table.relation returning r.app_id,
      r.table_name, r.documents
  ),
  declarations as (
    delete from perch.document_tables d using forgotten f
     where d.app_id = f.app_id and d.table_name = f.table_name and f.documents <> '{}'
  ),
  shown as (
    delete from perch.row_documents d using forgotten f where d.app_id = f.app_id and d.table_name = f.table_name
  ),
  writes as (
    delete from perch.column_writes w using forgotten f where w.app_id = f.app_id and w.table_name = f.table_name
  ),
  stamps as (
    delete from perch.row_stamps s using forgotten f where s.app_id = f.app_id and s.table_name = f.table_name
  )
  delete from perch.captured_changes c using forgotten f where c.app_id = f.app_id and c.table_name = f.table_name
     and c.at is null
$$;

comment on function perch.forget_synced_table(regclass) is
  'Private. Takes away what perch notes beside a synced table.';
