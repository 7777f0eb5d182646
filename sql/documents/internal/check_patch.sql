create or replace function perch.check_patch(table_name text, fields jsonb, patch jsonb)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  field record;
begin
  if jsonb_typeof(patch) is distinct from 'object' then
    perform perch.fail('PE422', 'the patch is not an object', jsonb_build_object('table', check_patch.table_name,
      'argument', 'patch', 'expected', 'object', 'got', coalesce(jsonb_typeof(patch), 'null')));
  end if;
  -- All fields are looked at before anything is written.
  for field in
    select p.key as name, p.value, jsonb_typeof(p.value) as got, k.kind,
      jsonb_typeof(p.value) = any (k.json_types) as is_of_kind,
           k.rule = 'datetime' and jsonb_typeof(p.value) = 'string'
             and not perch.is_datetime(p.value #>> '{}') as is_no_time,
           -- Of any size: beyond 2^53 the digits are kept.
           case
             when k.rule is distinct from 'integer' then true
             when jsonb_typeof(p.value) = 'string' then p.value #>> '{}' ~ '^-?(0|[1-9][0-9]*)$'
             when jsonb_typeof(p.value) = 'number' then p.value::numeric % 1 = 0
             else false
           end as is_exact
      from jsonb_each(patch) p
      left join perch.field_kinds k on k.kind = check_patch.fields ->> p.key
  loop
    if field.kind is null then
      perform perch.fail('PE422', format('table %s has no field %s', check_patch.table_name, field.name),
        jsonb_build_object('table', check_patch.table_name, 'field', field.name, 'expected', 'a declared field', 'got',
          field.got),
        'Declare it with perch.declare_table, or leave it out.');
    elsif field.got = 'null' then
      continue;
    elsif field.is_no_time then
      perform perch.fail('PE422', format('field %s of table %s is not a date, or a time with its offset', field.name,
        check_patch.table_name),
        jsonb_build_object('table', check_patch.table_name, 'field', field.name, 'expected', '2026-01-01T10:00:00.000Z',
          'got', left(field.value::text, 100)),
        'Give an ISO 8601 date, or a time with its offset (Z, or up to 15:59), of the years 1 to 9999.');
    elsif not (field.is_of_kind and field.is_exact) then
      perform perch.fail('PE422',
        format('field %s of table %s takes %s, not %s', field.name, check_patch.table_name, field.kind, field.got),
        jsonb_build_object('table', check_patch.table_name, 'field', field.name, 'expected', field.kind, 'got',
          field.got));
    end if;
  end loop;
end
$$;

comment on function perch.check_patch(text, jsonb, jsonb) is
  'Private. PE422 naming table, field, expected and got, unless every field of the patch is declared and has its JSON type. What is inside a tree or a list is checked by the worker.';
