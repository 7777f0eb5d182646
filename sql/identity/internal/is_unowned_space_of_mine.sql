create or replace function perch.is_unowned_space_of_mine(space_id text)
returns boolean
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  -- Only of a space one is in are all members visible: without the first line nobody would seem to be in a space whose
  -- creator was removed.
  select is_unowned_space_of_mine.space_id = any (perch.current_space_ids())
     and exists (
           select from perch.spaces s
            where s.space_id = is_unowned_space_of_mine.space_id and s.created_by = perch.current_user_id())
     and not exists (
           select from perch.space_members m where m.space_id = is_unowned_space_of_mine.space_id)
$$;
grant execute on function perch.is_unowned_space_of_mine to perch_app, perch_worker;

comment on function perch.is_unowned_space_of_mine(text) is
  'Private. Whether the current user has just created this space: nobody is in it yet.';
