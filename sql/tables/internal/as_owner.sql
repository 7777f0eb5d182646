-- A login that owns the table and may switch to perch_owner, as whoever migrates does, has the rights of either, but
-- not of both at once.
create or replace function perch.as_owner(relation regclass, statement text)
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  owner constant oid := (select c.relowner from pg_class c where c.oid = as_owner.relation);
  role_before constant text := current_setting('role');
begin
  if pg_has_role(current_user, owner, 'USAGE') then
    execute statement;
  elsif pg_has_role(session_user, owner, 'USAGE') then
    perform set_config('role', session_user, true);
    execute statement;
    perform set_config('role', role_before, true);
  else
    perform perch.fail('PE422', format('%s belongs to %s, and neither %s nor %s is a member of it', relation,
      pg_get_userbyid(owner),
        current_user, session_user), jsonb_build_object('argument', 'relation', 'owner', pg_get_userbyid(owner)),
      'Call it as the owner of the table, who is a member of perch_owner, or as a superuser.');
  end if;
end
$$;

comment on function perch.as_owner(regclass, text) is
  'Private. Executes a statement on a table with the rights of its owner, when the caller or the login has them; else PE422.';
