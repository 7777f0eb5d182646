create or replace function perch.readable_document(
  user_id text, space_id text, app_id text, table_name text, record_id text, space_ids text[] default null,
  writable_space_ids text[] default null
)
returns table (in_space text, access text, in_sight boolean)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
rows 1
as $$
begin
  in_space := coalesce(readable_document.space_id, perch.personal_space_id(readable_document.user_id));
  access := perch.document_access(readable_document.user_id, in_space, readable_document.space_ids,
    readable_document.writable_space_ids);
  in_sight := access is not null and perch.is_document_in_sight(readable_document.user_id, in_space,
    readable_document.app_id, readable_document.table_name, readable_document.record_id,
    readable_document.space_ids, readable_document.writable_space_ids);
  return next;
end
$$;
grant execute on function perch.readable_document to perch_worker;

comment on function perch.readable_document(text, text, text, text, text, text[], text[]) is
  'Private. The space meant (null: the personal one of the user), what the user may do there, as perch.document_access, and whether the rules of a synced table let them see this document.';
