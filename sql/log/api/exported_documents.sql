create or replace function perch.exported_documents()
returns table (space_id text, app_id text, table_name text, record_id text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select d.space_id, d.app_id, d.table_name, d.record_id
    from perch.documents d
   where d.space_id = any ((select perch.current_space_ids())::text[])
     and (d.created_by = (select perch.current_user_id())
          or d.space_id = (select perch.personal_space_id(perch.current_user_id()))
          or (d.space_id, d.app_id, d.table_name, d.record_id) in (
               select c.space_id, c.app_id, c.table_name, c.record_id
                 from perch.sync_changes c join perch.document_tables t using (app_id, table_name)
                where c.user_id = (select perch.current_user_id())))
   order by d.space_id, d.app_id, d.table_name, d.record_id
$$;
grant execute on function perch.exported_documents to perch_app;

comment on function perch.exported_documents() is
  'Used by perch export: the documents that the current user made, holds at home, or is named in the log for, as far as they may be read.';
