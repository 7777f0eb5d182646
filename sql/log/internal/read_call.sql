create or replace function perch.read_call(change jsonb, place integer, app_id text)
returns perch.change
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  known constant text[] := '{op,name,args,op_id}';
  read perch.change;
  wrong text;
begin
  for wrong in select c.key from jsonb_object_keys(change - known) as c (key) loop
    perform perch.fail('PE422', format('a call has no key %s', left(wrong, 100)),
      jsonb_build_object('argument', left(wrong, 100), 'expected', to_jsonb(known)));
  end loop;
  for wrong in
    select k.name from (values ('name', 'string'), ('args', 'object'), ('op_id', 'string')) as k (name, expected)
     where jsonb_typeof(change -> k.name) <> k.expected
  loop
    perform perch.fail('PE422', format('%s is not %s', wrong, case wrong when 'args' then 'an object'
      else 'a string' end),
      jsonb_build_object('argument', wrong, 'expected', case wrong when 'args' then 'object' else 'string' end,
        'got', jsonb_typeof(change -> wrong)));
  end loop;
  read.position := place;
  read.op := 'call';
  read.table_name := perch.check_id(change ->> 'name', 'name', 128);
  read.record_id := '';
  read.data := coalesce(change -> 'args', '{}');
  read.space_id := perch.personal_space_id(perch.require_user());
  read.is_document := false;
  read.timeless := false;
  if change ? 'op_id' then
    read.op_id := perch.check_id(change ->> 'op_id', 'op_id');
    read.digest := sha256(convert_to(perch.plain_numbers(
      jsonb_build_array('call', read_call.app_id, read.table_name, read.data)::text), 'UTF8'));
  end if;
  return read;
end
$$;

comment on function perch.read_call(jsonb, integer, text) is
  'Private. Checks one change of perch.push that calls a mutator: its name stands in table_name, its arguments in data. Errors: PE413, PE422.';
