-- Looked at afterwards, because a member may have been made an owner by a transaction that our own change waited for.
create or replace function perch.require_some_owner(space_id text)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (select from perch.space_members m
    where m.space_id = require_some_owner.space_id and m.role = 'owner') then
    perform perch.fail('PE409', 'the last owner of a space cannot go',
      jsonb_build_object('space_id', require_some_owner.space_id),
      'Make somebody else an owner first.');
  end if;
end
$$;

comment on function perch.require_some_owner(text) is
  'Private. PE409 when the change of membership just made has left a space without an owner.';
