create or replace function perch.access_to_document(
  user_id text, space_id text, app_id text, table_name text, record_id text, space_ids text[] default null,
  writable_space_ids text[] default null
)
returns text
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  access constant text := perch.document_access(user_id, space_id, space_ids, writable_space_ids);
begin
  return case when access is not null and perch.is_document_in_sight(user_id, space_id, app_id, table_name, record_id,
    space_ids, writable_space_ids) then access end;
end
$$;
grant execute on function perch.access_to_document to perch_worker;

comment on function perch.access_to_document(text, text, text, text, text, text[], text[]) is
  'Private. What a user may do with a document, or in another room of that name: as perch.document_access; null also where the rules of a synced table do not let them see it.';
