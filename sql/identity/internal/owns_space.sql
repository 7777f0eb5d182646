create or replace function perch.owns_space(space_id text)
returns boolean
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select exists (
    select from perch.space_members m
     where m.space_id = owns_space.space_id
       and m.user_id = perch.current_user_id()
       and m.role = 'owner'
  )
$$;
grant execute on function perch.owns_space to perch_app, perch_worker;

comment on function perch.owns_space(text) is
  'Private. Whether the current user is an owner of the space, by perch.space_members.';
