create or replace function perch.check_fields(fields jsonb)
returns jsonb
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  wrong text;
begin
  if fields is null or fields in ('null', '{}') then
    return null;
  end if;
  if jsonb_typeof(fields) <> 'object' then
    perform perch.fail('PE422', 'fields is not an object',
      jsonb_build_object('argument', 'fields', 'expected', '{"pages": ["title"]}'::jsonb, 'got', jsonb_typeof(fields)),
      'Say of each table which of its fields you want, as {"pages": ["title"]}.');
  end if;
  select left(f.key, 128) into wrong
    from jsonb_each(fields) f
   where case when jsonb_typeof(f.value) = 'array'
              then exists (select from jsonb_array_elements(f.value) n where jsonb_typeof(n.value) <> 'string')
              else true end
   limit 1;
  if wrong is not null then
    perform perch.fail('PE422', format('the fields of %s are not a list of names', wrong),
      jsonb_build_object('argument', 'fields', 'table', wrong, 'expected', '["title"]'::jsonb),
      'Say of each table which of its fields you want, as {"pages": ["title"]}.');
  end if;
  return fields;
end
$$;

comment on function perch.check_fields(jsonb) is
  'Private. The fields that a reader wants of each table, {table: [name, …]}; null: all of all tables. Errors: PE422.';
