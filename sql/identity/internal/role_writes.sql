-- One expression, which the planner takes into the statement around it.
create or replace function perch.role_writes(role text)
returns boolean
language sql immutable parallel safe
return role in ('editor', 'owner');
grant execute on function perch.role_writes to perch_worker;

comment on function perch.role_writes(text) is
  'Private. Whether a member of this role may write in the space. Every member may read; null for no member.';
