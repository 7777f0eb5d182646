create or replace function perch.require_owner(space_id text)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  -- Who is an owner by the table, and comes with a token that lets only read, makes nobody a member.
  perform perch.require_space(require_owner.space_id, true);
  if perch.owns_space(require_owner.space_id) then
    perform perch.lock_members(require_owner.space_id);
  end if;
  -- Asked again: somebody else may have taken the caller's role away while we waited.
  if not perch.owns_space(require_owner.space_id) then
    perform perch.fail('PE403', 'only an owner of this space may manage its members',
      jsonb_build_object('space_id', require_owner.space_id),
      'Ask one of its owners: perch.read_space lists the members.');
  end if;
end
$$;

comment on function perch.require_owner(text) is
  'Private. Locks the space against other changes of membership, once sure that the current user owns it. Errors: PE401, PE403, PE422.';
