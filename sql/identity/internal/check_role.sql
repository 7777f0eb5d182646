create or replace function perch.check_role(role text)
returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if role is null or role not in ('viewer', 'editor', 'owner') then
    perform perch.fail('PE422', 'the role is not one of viewer, editor, owner',
      jsonb_build_object('argument', 'role', 'got', role),
      'Pass viewer, editor or owner.');
  end if;
end
$$;

comment on function perch.check_role(text) is
  'Private. Errors: PE422 for a role that there is not.';
