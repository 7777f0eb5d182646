-- Of tables without rules, which are nearly all, nothing more is asked than that.
create or replace function perch.is_document_in_sight(
  user_id text, space_id text, app_id text, table_name text, record_id text, space_ids text[] default null,
  writable_space_ids text[] default null
)
returns boolean
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  if (perch.ruled_documents(app_id, table_name)).relation is null then
    return true;
  end if;
  return (perch.documents_in_sight(array[user_id], array[case
    when is_document_in_sight.space_ids is not null or is_document_in_sight.writable_space_ids is not null
    then jsonb_build_object('readable', is_document_in_sight.space_ids,
      'writable', is_document_in_sight.writable_space_ids) end],
    array[space_id], array[app_id], array[table_name], array[record_id]))[1];
end
$$;
grant execute on function perch.is_document_in_sight to perch_worker;

comment on function perch.is_document_in_sight(text, text, text, text, text, text[], text[]) is
  'Private. perch.documents_in_sight of one document, for a user with these lists of spaces (both null: by perch.space_members).';
