-- What must stand before the first migration: the three roles, the schema, and the migrating login's membership in the roles.
-- Runs as the login that migrates, which needs CREATEROLE and CREATE on the database, or nothing at all where a DBA has made
-- everything here beforehand. Changes nothing when run again.
do $bootstrap$
declare
  -- From version 16 on a membership says for itself whether it may be switched to; before, every membership may.
  per_grant_options constant boolean := current_setting('server_version_num')::int >= 160000;
  may_switch constant text := case when per_grant_options then 'SET' else 'MEMBER' end;
  role_name text;
begin
  foreach role_name in array array['perch_owner', 'perch_app', 'perch_worker'] loop
    if not exists (select from pg_roles r where r.rolname = role_name) then
      begin
        execute format('create role %I nologin', role_name);
      exception when duplicate_object or unique_violation then
        null;  -- roles belong to the cluster: the migration of another of its databases made it at the same moment
      end;
    end if;
  end loop;

  if exists (select from pg_roles r where r.rolname = 'perch_owner' and (r.rolsuper or r.rolbypassrls)) then
    raise exception 'perch_owner must be neither superuser nor BYPASSRLS: row level security would bind nobody'
      using errcode = 'invalid_role_specification', hint = 'alter role perch_owner nosuperuser nobypassrls';
  end if;

  -- The login switches to perch_owner to migrate, but does not go about with its rights; of the other two it has the rights,
  -- so that one login can migrate, work and serve.
  foreach role_name in array array['perch_owner', 'perch_app', 'perch_worker'] loop
    if not pg_has_role(current_user, role_name, may_switch)
       or (role_name <> 'perch_owner' and not pg_has_role(current_user, role_name, 'USAGE')) then
      begin
        execute format('grant %I to %I', role_name, current_user)
          || case when not per_grant_options then ''
                  when role_name = 'perch_owner' then ' with inherit false, set true'
                  else ' with inherit true, set true' end;
      exception
        when unique_violation then
          null;  -- granted at the same moment from another database
        when insufficient_privilege then
          raise exception '% is not a member of % and may not make itself one', current_user, role_name
            using errcode = 'insufficient_privilege',
                  hint = format('let a superuser, or whoever made the role, run: grant %I to %I', role_name, current_user);
      end;
    end if;
  end loop;

  if not exists (select from pg_namespace n where n.nspname = 'perch') then
    create schema perch authorization perch_owner;
  elsif not exists (select from pg_namespace n where n.nspname = 'perch' and n.nspowner = 'perch_owner'::regrole) then
    raise exception 'the schema perch of this database belongs to somebody else'
      using errcode = 'invalid_schema_definition', hint = 'alter schema perch owner to perch_owner';
  end if;
end
$bootstrap$;
