-- The access rule. One expression, which the planner takes into the statement around it; members are asked for only
-- where neither the space nor a token has said it.
create or replace function perch.may_write(space_id text, user_id text, by_token boolean default null)
returns boolean
language sql stable parallel safe
return space_id = perch.personal_space_id(user_id)
  or coalesce(by_token, perch.role_writes(perch.member_role(space_id, user_id)), false);
grant execute on function perch.may_write to perch_worker;

comment on function perch.may_write(text, text, boolean) is
  'Private. Whether a user may write in a space: it is theirs, or their token lets them, or (by_token null: it names no spaces) perch.space_members makes them an editor or owner. Never null for a user and a space.';
