-- Order of locks: the members, then invitations, then the membership; as perch.accept_invitation has the last two.
create or replace function perch.remove_space_member(space_id text, user_id text)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  leaving constant boolean := coalesce(remove_space_member.user_id = perch.require_user(), false);
begin
  if perch.catches_undone() then
    begin
      perform perch.remove_space_member(space_id, user_id);
      return;
    exception when serialization_failure then
      perform perch.fail_undone(sqlerrm);
    end;
  end if;
  -- Anybody may leave; removing somebody else is for owners.
  if leaving then
    -- Of whoever may write here, a token that lets only read does not give the membership up.
    perform perch.require_space(remove_space_member.space_id,
      coalesce(perch.role_writes(perch.member_role(remove_space_member.space_id, remove_space_member.user_id)), false));
    perform perch.lock_members(remove_space_member.space_id);
  else
    perform perch.require_owner(remove_space_member.space_id);
  end if;
  -- An owner who goes does not come back by an invitation that they made.
  delete from perch.space_invitations i
   where i.space_id = remove_space_member.space_id and i.created_by = remove_space_member.user_id;
  delete from perch.space_members m
   where m.space_id = remove_space_member.space_id and m.user_id = remove_space_member.user_id;
  if not found then
    return;
  end if;
  perform perch.require_some_owner(remove_space_member.space_id);

  if leaving then
    perform set_config('app.current_user_space_ids',
      array_remove(perch.current_space_ids(), remove_space_member.space_id)::text, true);
    perform set_config('app.current_user_writable_space_ids',
      array_remove(perch.writable_space_ids(), remove_space_member.space_id)::text, true);
  end if;
end
$$;
grant execute on function perch.remove_space_member to perch_app;

comment on function perch.remove_space_member(text, text) is
  'Removes a user from a space; a user who is not in it: nothing happens. Open invitations that they made go with them. For owners, and for users who leave. Errors: PE401, PE403, PE409 when it is the last owner, PE422. Example: select perch.remove_space_member(space_id => ''team'', user_id => ''bob'');';
