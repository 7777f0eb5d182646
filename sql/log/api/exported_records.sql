-- Where the log no longer begins at 1, it does not tell all: the records do.
create or replace function perch.exported_records(max_bytes bigint)
returns table (line text, app_id text, space_id text, "table" text, id text, schema_version integer)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with shortened as materialized (
    select s.space_id
      from (select distinct r.space_id from perch.stored_records r
             where r.user_id = (select perch.current_user_id())) s
     where not exists (select from perch.sync_changes c where c.space_id = s.space_id and c.seq = 1)
  )
  select case when coalesce(m.size, 0) <= max_bytes then
           jsonb_build_object('kind', 'record', 'app_id', m.app_id, 'space_id', m.space_id, 'table', m.table_name,
             'id', m.record_id, 'data', m.data, 'field_meta', m.field_meta, 'written_at', m.written_at,
             'written_by', m.written_by, 'inserted_at', m.inserted_at, 'deleted_at', m.deleted_at,
             'schema_version', m.schema_version)::text end,
         m.app_id, m.space_id, m.table_name, m.record_id, m.schema_version
    from perch.stored_records m
   where m.user_id = (select perch.current_user_id()) and m.space_id in (select s.space_id from shortened s)
     and not exists (select from perch.document_tables t where t.app_id = m.app_id and t.table_name = m.table_name)
   order by m.space_id, m.app_id, m.table_name, m.record_id
$$;
grant execute on function perch.exported_records to perch_app;

comment on function perch.exported_records(bigint) is
  'Used by perch export: the records that the current user wrote last in spaces whose log was shortened, as lines of its file; line is null for what is longer than max_bytes.';
