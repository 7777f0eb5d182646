create or replace function perch.remove_space_member(space_id text, user_id text)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  -- Anybody may leave; removing somebody else is for owners.
  if remove_space_member.user_id = perch.require_user() then
    perform perch.require_space(remove_space_member.space_id, false);
    perform from perch.spaces s where s.space_id = remove_space_member.space_id for update;
  else
    perform perch.require_owner(remove_space_member.space_id);
  end if;
  perform perch.require_another_owner(remove_space_member.space_id, remove_space_member.user_id);
  delete from perch.space_members m
   where m.space_id = remove_space_member.space_id and m.user_id = remove_space_member.user_id;
end
$$;

comment on function perch.remove_space_member(text, text) is
  'Removes a user from a space; a user who is not in it: nothing happens. For owners, and for users who leave. Errors: PE401, PE403, PE409 when it is the last owner, PE422.';
