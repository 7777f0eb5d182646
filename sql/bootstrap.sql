-- What must stand before the first migration: the three roles, the schema, and the migrating login's membership in the
-- roles. Runs as the login that migrates, which needs CREATEROLE and CREATE on the database, or nothing at all where a
-- DBA has made everything here beforehand. Changes nothing when run again.
do $bootstrap$
declare
  -- From version 16 on a membership says for itself whether it may be switched to; before, every membership may.
  per_grant_options constant boolean := current_setting('server_version_num')::int >= 160000;
  may_switch constant text := case when per_grant_options then 'SET' else 'MEMBER' end;
  on_citus constant boolean := exists (select from pg_extension e where e.extname = 'citus');
  unknown_to_citus text[] := '{}';
  role_name text;
  lacking text[] := '{}';
  -- Of a schema that is ours, what belongs to somebody else: a restore without owners gives all to whoever restores.
  strays constant text := $strays$
    select format('alter schema perch owner to perch_owner') as statement, n.nspowner as owner
      from pg_namespace n
     where n.nspname = 'perch' and n.nspowner <> 'perch_owner'::regrole and to_regclass('perch.applied_sql') is not null
    union all
    -- The sequence of a column goes with its table.
    select format('alter %s perch.%I owner to perch_owner', case c.relkind when 'v' then 'view' when 'S' then 'sequence'
      else 'table' end, c.relname),
           c.relowner
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where n.nspname = 'perch' and c.relkind in ('r', 'p', 'v', 'S') and c.relowner <> 'perch_owner'::regrole
       and not exists (select from pg_depend d
         where d.objid = c.oid and d.deptype in ('a', 'i') and d.refclassid = 'pg_class'::regclass)
       and to_regclass('perch.applied_sql') is not null
    union all
    select format('alter routine %s owner to perch_owner', p.oid::regprocedure), p.proowner
      from pg_proc p join pg_namespace n on n.oid = p.pronamespace
     where n.nspname = 'perch' and p.proowner <> 'perch_owner'::regrole
       and to_regclass('perch.applied_sql') is not null$strays$;
  stray record;
begin
  -- Any other encoding either lacks characters that JSON may hold, or (SQL_ASCII) does not know what characters are.
  if current_setting('server_encoding') <> 'UTF8' then
    raise exception 'perch needs a database of encoding UTF8, and this one is %', current_setting('server_encoding')
      using errcode = 'feature_not_supported',
        hint = 'create database app encoding ''UTF8'' template template0, and move what is here to it';
  end if;

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

  -- Of perch the other nodes of Citus need the roles, which tables of the app are granted to. Those that were made when
  -- it was not here yet, or from a database without it, it passes on when they are granted.
  if on_citus then
    unknown_to_citus := array(
      select r.rolname from pg_roles r
       where r.rolname in ('perch_owner', 'perch_app', 'perch_worker') and not exists (
         select from pg_dist_object o where o.classid = 'pg_authid'::regclass and o.objid = r.oid));
  end if;

  -- The login switches to perch_owner to migrate, but does not go about with its rights; of the other two it has the
  -- rights, so that one login can migrate, work and serve.
  foreach role_name in array array['perch_owner', 'perch_app', 'perch_worker'] loop
    if not pg_has_role(current_user, role_name, may_switch)
       or (role_name <> 'perch_owner' and not pg_has_role(current_user, role_name, 'USAGE'))
       or role_name = any (unknown_to_citus) then
      begin
        execute format('grant %I to %I', role_name, current_user)
          || case when not per_grant_options then ''
                  when role_name = 'perch_owner' then ' with inherit false, set true'
                  else ' with inherit true, set true' end;
      exception
        when unique_violation then
          null;  -- granted at the same moment from another database
        when insufficient_privilege then
          lacking := lacking || role_name;
      end;
    end if;
  end loop;
  if lacking <> '{}' then
    raise exception '% is not a member of % and may not make itself one', current_user, array_to_string(lacking, ', ')
      using errcode = 'insufficient_privilege',
            hint = format('let a superuser, or whoever made the roles, run: grant %s to %I',
              array_to_string(lacking, ', '), current_user);
  end if;

  -- From here on it is to be made on this node alone: Citus would make it on the others as the role that makes it here,
  -- and cannot as one that is not committed there.
  if on_citus then
    perform set_config('citus.enable_ddl_propagation', 'off', true);
  end if;

  for stray in execute strays loop
    begin
      execute stray.statement;
    exception when insufficient_privilege then
      raise exception 'part of the schema perch belongs to %, not to perch_owner, and % may not change that',
          pg_get_userbyid(stray.owner), current_user
        using errcode = 'insufficient_privilege',
          hint = format('let a superuser run perch migrate up once, or: %s', stray.statement);
    end;
  end loop;

  if not exists (select from pg_namespace n where n.nspname = 'perch') then
    begin
      create schema perch authorization perch_owner;
    exception when duplicate_schema or unique_violation then
      null;  -- made by another migration of this database, which had begun before and is committed now
    end;
  elsif not exists (select from pg_namespace n where n.nspname = 'perch' and n.nspowner = 'perch_owner'::regrole) then
    raise exception 'the schema perch of this database belongs to somebody else'
      using errcode = 'invalid_schema_definition', hint = 'alter schema perch owner to perch_owner';
  end if;
end
$bootstrap$;
