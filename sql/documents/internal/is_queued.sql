create or replace function perch.is_queued(space_id text, app_id text, table_name text, record_id text)
returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return exists (
    select from perch.document_queue q
     where q.space_id = is_queued.space_id and q.app_id = is_queued.app_id
       and q.table_name = is_queued.table_name and q.record_id = is_queued.record_id);
end
$$;
grant execute on function perch.is_queued to perch_worker;

comment on function perch.is_queued(text, text, text, text) is
  'Private. Whether a document is on the queue of those to project.';
