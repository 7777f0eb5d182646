-- Changes of membership within a space happen one after the other, so that two owners cannot remove each other at once
-- and leave none. The row is written, not only locked, so that under REPEATABLE READ, too, the second of them fails: it
-- would look at the members as they were before the first.
create or replace function perch.lock_members(space_id text)
returns void
language sql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
  update perch.spaces s set created_by = s.created_by where s.space_id = lock_members.space_id
$$;

comment on function perch.lock_members(text) is
  'Private. Makes other changes of a space''s members wait until the end of the transaction; for an owner of it (to anybody else the policies show nothing to lock).';
