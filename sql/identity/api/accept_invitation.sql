-- Order of locks: the invitation, then the membership. Owners take the members (perch.lock_members) before they write
-- invitations; that is no circle, since inserting a membership waits for nobody who holds the members: it takes a key
-- share of the space's row, which lock_members leaves free, and waits only for whoever is making the same user a
-- member.
create or replace function perch.accept_invitation(invitation text)
returns text
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  me constant text := perch.require_user();
  space constant text := substr(accept_invitation.invitation, 66);
  id text;
  given text;
begin
  if perch.catches_undone() then
    begin
      return perch.accept_invitation(invitation);
    exception when serialization_failure then
      perform perch.fail_undone(sqlerrm);
    end;
  end if;
  if (accept_invitation.invitation ~ '^[0-9a-f]{64}[.]'
    and octet_length(accept_invitation.invitation) <= 65 + 256) is not true then
    perform perch.fail('PE422', 'this is no invitation', '{"argument": "invitation"}',
      'Pass the text that perch.invite_to_space returned, whole.');
  end if;
  id := perch.invitation_id(left(accept_invitation.invitation, 64));
  perform set_config('perch.invitation_id', id, true);

  -- A member keeps the role they have, and uses nothing up.
  if exists (select from perch.space_members m where m.space_id = space and m.user_id = me)
     and exists (select from perch.space_invitations i where i.space_id = space and i.invitation_id = id) then
    perform set_config('perch.invitation_id', '', true);
    return space;
  end if;

  update perch.space_invitations i set uses_left = i.uses_left - 1
   where i.space_id = space and i.invitation_id = id and i.uses_left > 0 and i.expires_at > clock_timestamp()
  returning i.role into given;
  if given is null then
    perform perch.fail('PE404', 'this invitation is not valid any more', '{}', 'Ask for a new one.');
  end if;
  insert into perch.space_members as m (space_id, user_id, role) values (space, me, given) on conflict do nothing;

  -- It is usable in this transaction already, as a space that was just made is.
  perform set_config('app.current_user_space_ids',
    (array_remove(perch.current_space_ids(), space) || space)::text, true);
  if given in ('editor', 'owner') then
    perform set_config('app.current_user_writable_space_ids',
      (array_remove(perch.writable_space_ids(), space) || space)::text, true);
  end if;
  perform set_config('perch.invitation_id', '', true);
  return space;
end
$$;
grant execute on function perch.accept_invitation to perch_app;

comment on function perch.accept_invitation(text) is
  'Makes the current user a member of the space that an invitation (the text that perch.invite_to_space returned) is for, with the role it gives. Returns the space''s id. Whoever is a member already keeps their role. Errors: PE401, PE404 when it is unknown, used up, revoked or expired, PE422 when it is none. Example: select perch.accept_invitation(invitation => ''…'');';
