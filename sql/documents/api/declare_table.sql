create or replace function perch.declare_table(app_id text, table_name text, fields jsonb)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  field record;
  declared jsonb;
  is_container boolean;
begin
  perform perch.check_id(declare_table.app_id, 'app_id', 64);
  perform perch.check_id(declare_table.table_name, 'table_name', 128);
  if jsonb_typeof(declare_table.fields) is distinct from 'object' or declare_table.fields = '{}' then
    perform perch.fail('PE422', 'fields is not an object with a kind for each field',
      jsonb_build_object('argument', 'fields', 'expected', 'object', 'got',
        coalesce(jsonb_typeof(declare_table.fields), 'null')),
      'Example: {"title": "string", "body": "text"}');
  end if;

  if exists (select from perch.encrypted_tables t
              where t.app_id = declare_table.app_id and t.table_name = declare_table.table_name) then
    perform perch.fail('PE422', format('table %s holds encrypted documents, which have no fields',
      declare_table.table_name),
      jsonb_build_object('table', declare_table.table_name), 'Declare a table of another name.');
  end if;

  if exists (select from perch.synced_relations r
              where r.app_id = declare_table.app_id and r.table_name = declare_table.table_name
                and not r.documents @> declare_table.fields) then
    perform perch.fail('PE422', format('%s is a synced table', declare_table.table_name),
      jsonb_build_object('table', declare_table.table_name),
      'Its columns become documents by the argument documents of perch.sync_table.');
  end if;
  for field in select f.key as name, f.value as kind from jsonb_each(declare_table.fields) f loop
    perform perch.check_id(field.name, 'field', 128);
    -- Field names are names of Loro's containers, which takes no slash, and keeps this prefix for itself.
    -- JavaScript takes the last for the prototype of an object.
    if field.name like '%/%' or starts_with(field.name, '🤝:') or field.name = '__proto__' then
      perform perch.fail('PE422', format('field %s of table %s has a name that no document can have', field.name,
        declare_table.table_name),
        jsonb_build_object('table', declare_table.table_name, 'field', field.name,
          'expected', 'a name other than "__proto__", without "/", that does not begin with "🤝:"', 'got', field.name));
    end if;
    is_container := (select k.is_container from perch.field_kinds k
                      where k.kind = field.kind #>> '{}' and jsonb_typeof(field.kind) = 'string');
    if is_container is null then
      perform perch.fail('PE422', format('field %s of table %s has an unknown kind', field.name,
        declare_table.table_name),
        jsonb_build_object('table', declare_table.table_name, 'field', field.name,
          'expected', (select jsonb_agg(k.kind order by k.place) from perch.field_kinds k), 'got', field.kind));
    end if;
    -- Scalars live together in the root map "fields"; the root container of a field has the field's own name.
    if field.name = 'fields' and is_container then
      perform perch.fail('PE422',
        'a field of this kind cannot be named fields: the map of the scalar fields has that name',
        jsonb_build_object('table', declare_table.table_name, 'field', field.name),
        'Give the field another name.');
    end if;
  end loop;

  perform perch.check_field_count(declare_table.table_name, declare_table.fields);
  if not exists (select from perch.document_tables t
    where t.app_id = declare_table.app_id and t.table_name = declare_table.table_name) then
    perform perch.require_no_records(declare_table.app_id, declare_table.table_name);
  end if;
  insert into perch.document_tables as t (app_id, table_name, fields)
  values (declare_table.app_id, declare_table.table_name, declare_table.fields)
  on conflict on constraint document_tables_pkey do nothing;
  if found then
    return;
  end if;

  select t.fields into declared
    from perch.document_tables t
   where t.app_id = declare_table.app_id and t.table_name = declare_table.table_name
     for update;
  for field in
    select n.key as name, n.value as kind, o.value as declared_kind
      from jsonb_each(declare_table.fields) n join jsonb_each(declared) o on o.key = n.key
     where n.value <> o.value
  loop
    perform perch.fail('PE422', format('field %s of table %s is declared as %s already', field.name,
      declare_table.table_name, field.declared_kind #>> '{}'),
      jsonb_build_object('table', declare_table.table_name, 'field', field.name, 'expected', field.declared_kind, 'got',
        field.kind),
      'The kind of a field cannot be changed. Add a field of another name.');
  end loop;
  perform perch.check_field_count(declare_table.table_name, declared || declare_table.fields);
  update perch.document_tables t
     set fields = t.fields || declare_table.fields, updated_at = clock_timestamp()
   where t.app_id = declare_table.app_id and t.table_name = declare_table.table_name
     and t.fields <> t.fields || declare_table.fields;
end
$$;

comment on function perch.declare_table(text, text, jsonb) is
  'For the DBA, in a migration: makes it a document table, with the kind of each field (string, number, integer, boolean, datetime, json, text, list, movable_list, tree, counter, map). Declaring again may add fields; fields left out stay; changing a kind is refused. A field''s name has at most 128 bytes, no "/" and no control characters, and does not begin with "🤝:"; __proto__ is refused. A table that has plain records is refused (PE422): they would lose their fields; who is writing some is waited for, for 2 seconds at most (PE409). Errors: PE409, PE413 over 1,000 fields (max_fields) or for too long a name, PE422. Example: select perch.declare_table(app_id => ''notes'', table_name => ''pages'', fields => ''{"title": "string", "body": "text"}'');';
