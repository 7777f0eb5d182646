create or replace function perch.register_upgrade(app_id text, table_name text, from_version integer,
  upgrade regprocedure)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform perch.check_id(register_upgrade.app_id, 'app_id', 64);
  perform perch.check_id(register_upgrade.table_name, 'table_name', 128);
  if (register_upgrade.from_version >= 1) is not true then
    perform perch.fail('PE422', 'from_version is not a version',
      jsonb_build_object('argument', 'from_version', 'got', register_upgrade.from_version),
      'Give 1 or more: the version that the upgrade begins from.');
  end if;
  if not exists (select from pg_proc p where p.oid = register_upgrade.upgrade and p.pronargs = 1
    and p.proargtypes[0] = 'jsonb'::regtype
                    and p.prorettype = 'jsonb'::regtype and not p.proretset and p.prokind = 'f'
                      and p.provolatile <> 'v') then
    perform perch.fail('PE422', 'the upgrade is not an immutable or stable function from jsonb to jsonb',
      jsonb_build_object('argument', 'upgrade', 'got', register_upgrade.upgrade::text),
      'Declare it as (jsonb) returns jsonb, immutable or stable, and let perch_owner execute it.');
  end if;
  insert into perch.schema_upgrades as u (app_id, table_name, from_version, upgrade)
  values (register_upgrade.app_id, register_upgrade.table_name, register_upgrade.from_version,
          (select format('%I.%I', n.nspname, p.proname) from pg_proc p join pg_namespace n on n.oid = p.pronamespace
            where p.oid = register_upgrade.upgrade))
  on conflict on constraint schema_upgrades_pkey do update
    set upgrade = excluded.upgrade, updated_at = clock_timestamp();
end
$$;

comment on function perch.register_upgrade(text, text, integer, regprocedure) is
  'For the DBA, in a migration: the function that turns a change of version from_version into one of the next. It is given {"op", "table", "id", "data", "field_meta"} and returns it with other data and field_meta (the time of each field; a field without one counts as written when the change was made); it must be immutable or stable, and perch_owner must be allowed to execute it. Example: select perch.register_upgrade(app_id => ''todo'', table_name => ''tasks'', from_version => 1, upgrade => ''app.tasks_1_to_2(jsonb)'');';
