create or replace function perch.invite_to_space(
  space_id text, role text default 'editor', valid_for interval default '7 days', max_uses integer default 1
)
returns text
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  -- 244 random bits: of each UUID six are fixed.
  secret constant text := replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', '');
begin
  if perch.catches_undone() then
    begin
      return perch.invite_to_space(space_id, role, valid_for, max_uses);
    exception when serialization_failure then
      perform perch.fail_undone(sqlerrm);
    end;
  end if;
  perform perch.require_owner(invite_to_space.space_id);
  perform perch.check_role(invite_to_space.role);
  if (invite_to_space.valid_for between '1 minute' and '1 year') is not true then
    perform perch.fail('PE422', 'valid_for is not between a minute and a year',
      jsonb_build_object('argument', 'valid_for', 'got', invite_to_space.valid_for),
      'For example: valid_for => ''7 days''.');
  end if;
  if (invite_to_space.max_uses between 1 and 1000000) is not true then
    perform perch.fail('PE422', 'max_uses is not between 1 and 1000000',
      jsonb_build_object('argument', 'max_uses', 'got', invite_to_space.max_uses),
      'Give 1 for one member, more for a link that many may follow.');
  end if;
  -- What nobody can accept any more is in nobody's way; the number of those that are open is bounded.
  delete from perch.space_invitations i
   where i.space_id = invite_to_space.space_id and (i.expires_at <= clock_timestamp() or i.uses_left = 0);
  if (select count(*) from perch.space_invitations i where i.space_id = invite_to_space.space_id) >= 1000 then
    perform perch.fail('PE413', 'this space has too many open invitations',
      jsonb_build_object('limit', 'invitations', 'max', 1000, 'space_id', invite_to_space.space_id),
      'Revoke some, or make one with more uses.');
  end if;
  insert into perch.space_invitations (space_id, invitation_id, role, uses_left, created_by, expires_at)
  values (invite_to_space.space_id, perch.invitation_id(secret), invite_to_space.role, invite_to_space.max_uses,
          perch.current_user_id(), clock_timestamp() + invite_to_space.valid_for);
  return secret || '.' || invite_to_space.space_id;
end
$$;
grant execute on function perch.invite_to_space to perch_app;

comment on function perch.invite_to_space(text, text, interval, integer) is
  'Makes an invitation to a space, for owners: a text to be put into a link. Whoever is signed in and passes it to perch.accept_invitation becomes a member with this role (viewer, editor or owner), as often as max_uses says (1 to 1000000), until valid_for (a minute to a year) is over. Only a digest of it is kept, so it is shown this once. Errors: PE401, PE403, PE413 when 1000 invitations to the space are open, PE422. Example: select perch.invite_to_space(space_id => ''team'', role => ''editor'');';
