-- For the policies of space_members: accepting an invitation is the one way to become a member by one's own doing. The
-- row is only found by the digest that accept_invitation computed from the secret, so a caller who sets
-- perch.invitation_id to something that an owner has read in the table gains nothing: owners may make members anyway,
-- and nobody else reads it.
create or replace function perch.is_invited(space_id text, role text)
returns boolean
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select exists (
    select from perch.space_invitations i
     where i.space_id = is_invited.space_id
       and i.invitation_id = nullif(current_setting('perch.invitation_id', true), '')
       and i.role = is_invited.role
       and i.expires_at > clock_timestamp())
$$;

comment on function perch.is_invited(text, text) is
  'Private. Whether the invitation that is being accepted gives this role in this space.';
