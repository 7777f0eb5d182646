create or replace function perch.member_role(space_id text, user_id text)
returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return (select m.role from perch.space_members m
           where m.space_id = member_role.space_id and m.user_id = member_role.user_id);
end
$$;
grant execute on function perch.member_role to perch_worker;

comment on function perch.member_role(text, text) is
  'Private. The role that perch.space_members has for a user in a space (viewer, editor, owner); null: none.';
