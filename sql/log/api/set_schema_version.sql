create or replace function perch.set_schema_version(app_id text, table_name text, current_version integer,
  minimum_version integer default 1)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  missing integer[];
begin
  perform perch.check_id(set_schema_version.app_id, 'app_id', 64);
  perform perch.check_id(set_schema_version.table_name, 'table_name', 128);
  if (set_schema_version.minimum_version between 1 and set_schema_version.current_version) is not true then
    perform perch.fail('PE422', 'the minimum version is not between 1 and the current version', jsonb_build_object(
      'current_version', set_schema_version.current_version, 'minimum_version', set_schema_version.minimum_version),
      'Give current_version 1 or more, and minimum_version from 1 to that.');
  end if;
  missing := array(
    select n from generate_series(set_schema_version.minimum_version, set_schema_version.current_version - 1) n
     where not exists (select from perch.schema_upgrades u
                        where u.app_id = set_schema_version.app_id and u.table_name = set_schema_version.table_name
                          and u.from_version = n));
  if missing <> '{}' then
    perform perch.fail('PE422', format('there is no upgrade from version %s of %s', missing[1],
      set_schema_version.table_name),
      jsonb_build_object('table', set_schema_version.table_name, 'missing', missing),
        'Register it with perch.register_upgrade first.');
  end if;
  insert into perch.schema_versions as v (app_id, table_name, current_version, minimum_version)
  values (set_schema_version.app_id, set_schema_version.table_name, set_schema_version.current_version,
    set_schema_version.minimum_version)
  on conflict on constraint schema_versions_pkey do update
    set current_version = excluded.current_version, minimum_version = excluded.minimum_version,
      updated_at = clock_timestamp();
end
$$;

comment on function perch.set_schema_version(text, text, integer, integer) is
  'For the DBA, in a migration: the version that changes of a table have now, and the oldest that is still taken. Older changes are lifted by the functions of perch.register_upgrade, which must be there for every step; newer ones, and ones older than the minimum, are refused with PE422. Errors: PE422. Example: select perch.set_schema_version(app_id => ''todo'', table_name => ''tasks'', current_version => 3, minimum_version => 2);';
