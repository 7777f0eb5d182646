create or replace function perch.upgrade_change(change jsonb, app_id text, table_name text, from_version integer,
  to_version integer)
returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  step record;
  lifted jsonb := change;
  done integer := from_version;
begin
  for step in
    select u.from_version, u.upgrade from perch.schema_upgrades u
     where u.app_id = upgrade_change.app_id and u.table_name = upgrade_change.table_name
       and u.from_version >= upgrade_change.from_version and u.from_version < upgrade_change.to_version
     order by u.from_version
  loop
    exit when step.from_version <> done;
    begin
      execute format('select %s($1)', step.upgrade) into lifted using lifted;
    exception when others then
      -- What may go well the next time is no verdict on the change: serialization, resources, locks, a server that
      -- stops.
      if sqlstate ~ '^(40|53|55|57|58)' then
        raise;
      end if;
      perform perch.fail('PE422', format('the upgrade from version %s of %s failed: %s', step.from_version, table_name,
        sqlerrm),
        jsonb_build_object('table', table_name, 'id', change -> 'id', 'from_version', step.from_version),
        'Let a DBA mend the function given to perch.register_upgrade: it has to take every change of that version.');
    end;
    if jsonb_typeof(lifted) is distinct from 'object' or jsonb_typeof(lifted -> 'data') not in ('object', 'null')
       or jsonb_typeof(lifted -> 'field_meta') not in ('object', 'null') then
      perform perch.fail('PE422', format('the upgrade from version %s of %s made something else than a change',
        step.from_version, table_name),
        jsonb_build_object('table', table_name, 'id', change -> 'id', 'from_version', step.from_version),
        'The function given to perch.register_upgrade returns the change that it gets, data and field_meta as objects.');
    end if;
    done := done + 1;
  end loop;
  if done < to_version then
    perform perch.fail('PE422', format('there is no upgrade from version %s of %s', done, table_name),
      jsonb_build_object('table', table_name, 'from_version', done),
      'Let a DBA register it, with perch.register_upgrade.');
  end if;
  -- Only what a change says may be changed, not what it is about. The time of a field that went goes with it.
  return change || jsonb_build_object(
    'data', coalesce(nullif(lifted -> 'data', 'null'), '{}'),
    'field_meta', (select coalesce(jsonb_object_agg(m.key, m.value), '{}')
                     from jsonb_each(coalesce(nullif(lifted -> 'field_meta', 'null'), '{}')) m
                       where lifted -> 'data' ? m.key));
end
$$;

comment on function perch.upgrade_change(jsonb, text, text, integer, integer) is
  'Private. Turns a change {"op", "table", "id", "data", "field_meta"} of one version into one of a later version, step by step; PE422 when a step is missing, raises, or makes something else.';
