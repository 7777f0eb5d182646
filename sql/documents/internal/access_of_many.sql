create or replace function perch.access_of_many(user_ids text[], space_ids text[])
returns table (access text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return query
    select perch.document_access(user_id => m.user_id, space_id => m.space_id)
      from unnest(user_ids, space_ids) with ordinality as m (user_id, space_id, nth)
     order by m.nth;
end
$$;
grant execute on function perch.access_of_many to perch_worker;

comment on function perch.access_of_many(text[], text[]) is
  'Private. What each of these users may do in the space beside it, by perch.space_members alone: a row for each, in their order.';
