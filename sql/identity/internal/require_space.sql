create or replace function perch.require_space(space_id text, to_write boolean)
returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  wanted constant text := coalesce(space_id, perch.personal_space_id(perch.require_user()));
  usable text;
  allowed constant text[] := case when to_write then perch.writable_space_ids() else perch.current_space_ids() end;
begin
  -- Assigned rather than performed, which would start an executor for each.
  usable := perch.require_user();
  usable := perch.check_id(wanted, 'space_id');
  -- Not "wanted <> all (allowed)": of a list with a null in it, which an app may have set itself, that is never true.
  if (wanted = any (allowed)) is not true then
    perform perch.fail('PE403', format('this user may not %s this space', case when to_write then 'write'
      else 'read' end),
      jsonb_build_object('space_id', wanted),
      case when to_write
        then 'Its editors and owners write in it: have an owner let this user in (perch.set_space_member), or, where '
             'tokens list spaces, list it in writable_space_ids; without space_id it is the personal space.'
        else 'Its members read it: have an owner let this user in (perch.set_space_member), or, where tokens list '
             'spaces, list it in space_ids.' end);
  end if;
  return wanted;
end
$$;

comment on function perch.require_space(text, boolean) is
  'Private. The space meant (null: the personal one of the current user) when the user may read, or write, it. Errors: PE401, PE403, PE422.';
