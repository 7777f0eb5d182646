create or replace function perch.check_versions(app_id text, schema_versions jsonb)
returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  asked record;
begin
  if schema_versions is null or schema_versions in ('null', '{}') then
    return null;
  end if;
  if jsonb_typeof(schema_versions) <> 'object' then
    perform perch.fail('PE422', 'schema_versions is not an object',
      jsonb_build_object('argument', 'schema_versions', 'expected', '{"tasks": 3}'::jsonb, 'got',
        jsonb_typeof(schema_versions)));
  end if;
  for asked in
    select s.key as table_name, s.value, v.minimum_version, v.current_version
      from jsonb_each(schema_versions) s
      left join perch.schema_versions v on v.app_id = check_versions.app_id and v.table_name = s.key
  loop
    if (jsonb_typeof(asked.value) = 'number' and asked.value #>> '{}' ~ '^[1-9][0-9]{0,8}$') is not true then
      perform perch.fail('PE422', format('the version of %s is not a version', left(asked.table_name, 128)),
        jsonb_build_object('argument', 'schema_versions', 'table', left(asked.table_name, 128), 'expected',
          'a positive integer', 'got', asked.value));
    end if;
    if (asked.value #>> '{}')::integer > asked.current_version
      or (asked.value #>> '{}')::integer < asked.minimum_version then
      perform perch.fail('PE422', format('version %s of %s is %s', asked.value, asked.table_name,
          case when (asked.value #>> '{}')::integer > asked.current_version then 'not known yet'
            else 'no longer taken' end),
        jsonb_build_object('argument', 'schema_versions', 'table', asked.table_name, 'got', asked.value,
          'minimum', asked.minimum_version, 'current', asked.current_version),
        format('Ask for a version from %s to %s.', asked.minimum_version, asked.current_version));
    end if;
  end loop;
  -- Of a table without versions nothing can be lifted.
  return (select jsonb_object_agg(s.key, s.value) from jsonb_each(schema_versions) s
           where exists (select from perch.schema_versions v
             where v.app_id = check_versions.app_id and v.table_name = s.key));
end
$$;

comment on function perch.check_versions(text, jsonb) is
  'Private. What a reader says it knows: {table: version}; PE422 for what is not a version, not known yet or no longer taken.';
