create or replace function perch.require_another_owner(space_id text, user_id text)
returns void
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if exists (select from perch.space_members m
              where m.space_id = require_another_owner.space_id and m.user_id = require_another_owner.user_id and m.role = 'owner')
     and not exists (select from perch.space_members m
              where m.space_id = require_another_owner.space_id and m.user_id <> require_another_owner.user_id and m.role = 'owner') then
    perform perch.fail('PE409', 'the last owner of a space cannot go',
      jsonb_build_object('space_id', require_another_owner.space_id),
      'Make somebody else an owner first.');
  end if;
end
$$;

comment on function perch.require_another_owner(text, text) is
  'Private. PE409 when this user is the only owner of the space.';
