create or replace function perch.revoke_invitation(space_id text, invitation_id text default null)
returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  gone bigint;
begin
  if perch.catches_undone() then
    begin
      return perch.revoke_invitation(space_id, invitation_id);
    exception when serialization_failure then
      perform perch.fail_undone(sqlerrm);
    end;
  end if;
  perform perch.require_owner(revoke_invitation.space_id);
  delete from perch.space_invitations i
   where i.space_id = revoke_invitation.space_id
     and (revoke_invitation.invitation_id is null or i.invitation_id = revoke_invitation.invitation_id);
  get diagnostics gone = row_count;
  return gone;
end
$$;
grant execute on function perch.revoke_invitation to perch_app;

comment on function perch.revoke_invitation(text, text) is
  'Takes an invitation to a space back, by the id that perch.read_space lists; all of them without one. Returns how many. Members that it made stay. For owners of the space. Errors: PE401, PE403, PE422. Example: select perch.revoke_invitation(space_id => ''team'');';
