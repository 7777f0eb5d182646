-- Order of locks: as perch.remove_space_member.
create or replace function perch.set_space_member(space_id text, user_id text, role text)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if perch.catches_undone() then
    begin
      perform perch.set_space_member(space_id, user_id, role);
      return;
    exception when serialization_failure then
      perform perch.fail_undone(sqlerrm);
    end;
  end if;
  perform perch.require_owner(set_space_member.space_id);
  perform perch.check_id(set_space_member.user_id, 'user_id', 255);
  perform perch.check_role(set_space_member.role);
  -- Who is an owner no more becomes none by an invitation that they made.
  if set_space_member.role <> 'owner' then
    delete from perch.space_invitations i
     where i.space_id = set_space_member.space_id and i.created_by = set_space_member.user_id;
  end if;
  insert into perch.space_members as m (space_id, user_id, role)
  values (set_space_member.space_id, set_space_member.user_id, set_space_member.role)
  on conflict on constraint space_members_pkey do update set role = excluded.role;
  perform perch.require_some_owner(set_space_member.space_id);

  if set_space_member.user_id = perch.current_user_id() and set_space_member.role = 'viewer' then
    perform set_config('app.current_user_writable_space_ids',
      array_remove(perch.writable_space_ids(), set_space_member.space_id)::text, true);
  end if;
end
$$;
grant execute on function perch.set_space_member to perch_app;

comment on function perch.set_space_member(text, text, text) is
  'Adds a user to a space or changes the role: viewer (reads), editor (reads and writes), owner (also manages members; of one who no longer is one, open invitations go). For owners of the space. Errors: PE401, PE403, PE409 when the last owner would go, PE422. Example: select perch.set_space_member(space_id => ''team'', user_id => ''bob'', role => ''editor'');';
