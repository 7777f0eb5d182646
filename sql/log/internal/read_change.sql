create or replace function perch.read_change(change jsonb, place integer, app_id text, now timestamptz)
returns perch.change
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  read perch.change;
  max_bytes constant bigint := perch.setting('max_change_bytes', 1048576);
  -- Of a clock that runs ahead, too, the later change of a push is the later one.
  horizon constant timestamptz := now + perch.clock_tolerance() + (place - 1) * interval '1 microsecond';
  known constant text[] :=
    '{op,table,id,data,field_meta,at,op_id,space_id,schema_version,base_seq,base_revision,actor,origin}';
  fields jsonb;
  field record;
  said text;
  given_at timestamptz;
  field_times jsonb;
  times jsonb;
  versions record;
  moments timestamptz[];
  first_moment timestamptz;
  last_moment timestamptz;
  content text;
  bytes bigint;
begin
  if jsonb_typeof(change) is distinct from 'object' then
    perform perch.fail('PE422', 'the change is not an object',
      jsonb_build_object('argument', 'change', 'expected', 'object', 'got', jsonb_typeof(change)));
  end if;
  -- The binary form first: it is known without making the text of it, which numbers such as 1e100000 blow up.
  bytes := pg_column_size(change);
  if bytes <= max_bytes * 8 then
    begin
      content := change::text;
      bytes := octet_length(content);
    exception when program_limit_exceeded then
      bytes := 1073741824;
    end;
  end if;
  if bytes > max_bytes then
    perform perch.fail('PE413', format('the change is longer than %s bytes', max_bytes),
      jsonb_build_object('limit', 'max_change_bytes', 'max', max_bytes, 'got', bytes));
  end if;
  if change -> 'op' = '"call"' then
    perform perch.check_numbers(change, content, 'the call');
    if pg_column_size(change) > 800 and jsonb_path_exists(change, '$.**{100}') then
      perform perch.fail('PE422', 'the call is nested too deeply',
        jsonb_build_object('argument', 'args', 'expected', 'fewer than 100 levels'));
    end if;
    -- Not yet known to be few, its keys are not taken away one by one: that costs the square of their number.
    return perch.read_call((select coalesce(json_object_agg(c.key, c.value)::jsonb, '{}') from jsonb_each(change) c
      where c.value <> 'null'), place, app_id);
  end if;
  for field in select c.key from jsonb_object_keys(change - known) as c (key) loop
    perform perch.fail('PE422', format('the change has an unknown key %s', left(field.key, 100)),
      jsonb_build_object('argument', left(field.key, 100), 'expected', to_jsonb(known)));
  end loop;
  -- A key that is null is one that is absent.
  change := change - array(select c.key from jsonb_each(change) c where c.value = 'null');
  said := perch.change_content(change);
  for field in
    select k.name, k.expected, jsonb_typeof(change -> k.name) as got
      from (values ('op', 'string'), ('table', 'string'), ('id', 'string'), ('data', 'object'),
        ('field_meta', 'object'),
                   ('at', 'string'), ('op_id', 'string'), ('space_id', 'string'), ('schema_version', 'number'),
                   ('base_seq', 'number'), ('base_revision', 'number'), ('actor', 'object'),
                     ('origin', 'string')) as k (name, expected)
     where jsonb_typeof(change -> k.name) <> k.expected
  loop
    perform perch.fail('PE422', format('%s is not %s', field.name, field.expected),
      jsonb_build_object('argument', field.name, 'expected', field.expected, 'got', field.got));
  end loop;

  read.position := place;
  read.op := change ->> 'op';
  if read.op is null or read.op not in ('insert', 'update', 'delete') then
    perform perch.fail('PE422', 'op is not one of insert, update, delete, call',
      jsonb_build_object('argument', 'op', 'expected', '["insert", "update", "delete", "call"]'::jsonb, 'got',
        left(read.op, 100)));
  end if;
  read.table_name := perch.check_id(change ->> 'table', 'table', 128);
  read.record_id := perch.check_id(change ->> 'id', 'id');
  if change ? 'op_id' then
    read.op_id := perch.check_id(change ->> 'op_id', 'op_id');
  end if;
  if change ? 'origin' then
    read.origin := perch.check_id(change ->> 'origin', 'origin');
  end if;
  read.space_id := perch.require_space(change ->> 'space_id', true);
  read.actor := change -> 'actor';
  read.data := coalesce(change -> 'data', '{}');
  times := coalesce(change -> 'field_meta', '{}');
  if read.op = 'delete' and (read.data <> '{}' or times <> '{}') then
    perform perch.fail('PE422', 'a deletion has no data', jsonb_build_object('argument', case
      when read.data <> '{}' then 'data' else 'field_meta' end),
      'Leave data and field_meta out, or push an update.');
  end if;
  if pg_column_size(change) > 800 and jsonb_path_exists(change, '$.**{100}') then
    perform perch.fail('PE422', 'the change is nested too deeply',
      jsonb_build_object('argument', 'data', 'expected', 'fewer than 100 levels'));
  end if;

  perform perch.check_numbers(change, content, 'the change');

  read.schema_version := 1;
  if change ? 'schema_version' then
    if (change ->> 'schema_version')::numeric not between 1 and 2147483647 or (change ->> 'schema_version')::numeric % 1
      <> 0 then
      perform perch.fail('PE422', 'schema_version is not a version',
        jsonb_build_object('argument', 'schema_version', 'expected', 'a positive integer', 'got',
        change -> 'schema_version'));
    end if;
    read.schema_version := (change ->> 'schema_version')::numeric;
  end if;
  select v.current_version, v.minimum_version into versions from perch.schema_versions v
   where v.app_id = read_change.app_id and v.table_name = read.table_name;
  if read.schema_version > versions.current_version or read.schema_version < versions.minimum_version then
    perform perch.fail('PE422', format('version %s of %s is %s', read.schema_version, read.table_name,
        case when read.schema_version > versions.current_version then 'not known yet' else 'no longer taken' end),
      jsonb_build_object('argument', 'schema_version', 'table', read.table_name, 'got', read.schema_version,
        'minimum', versions.minimum_version, 'current', versions.current_version),
      format('Push version %s to %s (without schema_version it is 1), or update what is older: the app that pushes, or '
          'the database (perch.set_schema_version).', versions.minimum_version, versions.current_version));
  end if;
  for field in select n.name from unnest('{base_seq,base_revision}'::text[]) n (name) where change ? n.name loop
    if (change ->> field.name)::numeric not between 0 and 9007199254740991 or (change ->> field.name)::numeric % 1
      <> 0 then
      perform perch.fail('PE422', format('%s is not a position', field.name),
        jsonb_build_object('argument', field.name, 'expected', 'an integer, 0 or more', 'got', change -> field.name));
    end if;
  end loop;
  read.base_seq := (change ->> 'base_seq')::numeric;

  if change ? 'at' then
    given_at := perch.read_time(change -> 'at', 'at');
  end if;
  -- As they were given: what is no time is refused below.
  select jsonb_object_agg(m.key, case when perch.is_time(m.value) then perch.time_text(m.value::timestamptz)
    else m.value end) into field_times
    from jsonb_each_text(times) m;
  if read.op_id is not null then
    read.digest := perch.change_digest(app_id, read.space_id, said, given_at, field_times);
  end if;

  if read.schema_version < versions.current_version then
    if read.op <> 'delete' then
      change := perch.upgrade_change(
        jsonb_build_object('op', read.op, 'table', read.table_name, 'id', read.record_id, 'data', read.data,
          'field_meta', times)
          || jsonb_strip_nulls(jsonb_build_object('at', change -> 'at')),
        app_id, read.table_name, read.schema_version, versions.current_version);
      read.data := change -> 'data';
      times := change -> 'field_meta';
    end if;
    read.schema_version := versions.current_version;
  end if;

  moments := '{}';
  for field in select m.key as name, m.value from jsonb_each(times) m loop
    if not read.data ? field.name then
      perform perch.fail('PE422', format('field_meta names %s, which data does not have', left(field.name, 100)),
        jsonb_build_object('argument', 'field_meta', 'field', left(field.name, 100)),
        'Give times to fields that are in data, and to no other.');
    end if;
    moments := moments || least(perch.read_time(field.value, format('the time of field %s', left(field.name, 100))),
      horizon);
  end loop;
  select min(m), max(m) into first_moment, last_moment from unnest(moments) m;
  read.timeless := false;
  if given_at is not null then
    read.at := least(given_at, horizon);
  elsif read.op = 'update' and moments <> '{}' and not exists (
    select from jsonb_object_keys(read.data) k where (times ? k) is not true) then
    -- Every field says when it was written.
    read.at := last_moment;
  else
    -- Made now; those of one push in their order.
    read.timeless := true;
    read.at := now + place * interval '1 microsecond';
  end if;
  read.earliest := least(case when not read.timeless then read.at end, first_moment);
  read.latest := greatest(case when not read.timeless then read.at end, last_moment);
  select jsonb_object_agg(m.key, perch.time_text(moments[m.nth])) into read.field_meta
    from jsonb_each(times) with ordinality m (key, value, nth);
  if read.op = 'delete' then
    read.data := null;
  end if;

  fields := null;
  select t.fields into fields from perch.document_tables t
   where t.app_id = read_change.app_id and t.table_name = read.table_name
     -- Of a synced table it is the row that is written, and its columns pass it on.
     and not exists (select from perch.synced_relations r
       where r.app_id = read_change.app_id and r.table_name = read.table_name);
  read.is_document := fields is not null;
  if exists (select from perch.encrypted_tables t
    where t.app_id = read_change.app_id and t.table_name = read.table_name) then
    perform perch.fail('PE422',
      format('table %s holds end-to-end encrypted documents, which are written in their rooms', read.table_name),
      jsonb_build_object('argument', 'table', 'table', read.table_name),
      'Push to a table of another name; perch.delete_document deletes such a document.');
  end if;
  if read.is_document and read.op <> 'delete' then
    perform perch.check_patch(read.table_name, fields, read.data);
  end if;
  if bytes > 2000 then
    read.size := bytes;
  end if;
  return read;
end
$$;

comment on function perch.read_change(jsonb, integer, text, timestamptz) is
  'Private. Checks one change of perch.push and resolves its times. Errors: PE403, PE413, PE422.';
