create or replace function perch.readable_space(
  user_id text, space_id text, space_ids text[] default null, writable_space_ids text[] default null
)
returns table (in_space text, access text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
rows 1
as $$
begin
  in_space := coalesce(readable_space.space_id, perch.personal_space_id(readable_space.user_id));
  access := perch.document_access(readable_space.user_id, in_space, readable_space.space_ids,
    readable_space.writable_space_ids);
  return next;
end
$$;
grant execute on function perch.readable_space to perch_worker;

comment on function perch.readable_space(text, text, text[], text[]) is
  'Private. The space meant (null: the personal one of the user), and what the user may do there, as perch.document_access.';
