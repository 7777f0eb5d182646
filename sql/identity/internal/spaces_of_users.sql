create or replace function perch.spaces_of_users(user_ids text[])
returns table (user_id text, space_ids text[], roles text[])
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return query
    select m.user_id::text, array_agg(m.space_id::text order by m.space_id),
           array_agg(m.role::text order by m.space_id)
      from perch.space_members m
     where m.user_id = any (spaces_of_users.user_ids)
     group by m.user_id;
end
$$;
grant execute on function perch.spaces_of_users to perch_worker;

comment on function perch.spaces_of_users(text[]) is
  'Private. The spaces that each of these users is a member of, by perch.space_members, and the role in each; no row for who is in none.';
