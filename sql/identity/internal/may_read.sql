-- The access rule: see perch.may_write.
create or replace function perch.may_read(space_id text, user_id text, by_token boolean default null)
returns boolean
language sql stable parallel safe
return space_id = perch.personal_space_id(user_id)
  or coalesce(by_token, perch.member_role(space_id, user_id) is not null);
grant execute on function perch.may_read to perch_worker;

comment on function perch.may_read(text, text, boolean) is
  'Private. Whether a user may read in a space: it is theirs, or their token lets them, or (by_token null: it names no spaces) perch.space_members has them. Never null for a user and a space.';
