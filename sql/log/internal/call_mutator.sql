-- In a subtransaction of its own (perch.push_call): so what it did is undone when it fails, and only then.
--
-- What it may not change for what follows: whom the transaction is for, and how its statements see and wait. Settings
-- that it makes for the transaction would last behind it, so they are put back. (Its role cannot change: Postgres
-- refuses that in a SECURITY DEFINER function.)
create or replace function perch.call_mutator(app_id text, name text, args jsonb)
returns jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  kept constant text[] :=
    '{app.current_user_id,app.current_user_space_ids,app.current_user_writable_space_ids,app.current_tenant_id,'
    'lock_timeout,row_security}';
  before constant text[] := array(select coalesce(current_setting(k, true), '')
    from unnest(kept) with ordinality s (k, nth) order by nth);
  max_bytes constant bigint := perch.setting('max_result_bytes', 65536);
  target text;
  fault text;
  result jsonb;
  done text[];
begin
  select m.function into target from perch.mutators m
    where m.app_id = call_mutator.app_id and m.name = call_mutator.name;
  if target is null then
    perform perch.fail('PE404', format('there is no mutator %s', call_mutator.name),
      jsonb_build_object('name', call_mutator.name),
      'A DBA registers it with perch.register_mutator.');
  end if;
  fault := perch.mutator_fault(to_regprocedure(target || '(jsonb)'));
  if fault is not null then
    raise warning 'perch: mutator % (%) was not called: %', call_mutator.name, target, fault;
    perform perch.fail('PE422', format('mutator %s cannot be called: %s', call_mutator.name, fault),
      jsonb_build_object('name', call_mutator.name, 'reason', fault),
      'Let a DBA mend it, and call perch.register_mutator again.');
  end if;
  execute format('select %s($1)', target) into result using call_mutator.args;
  done := array(select set_config(s.k, s.v, true) from unnest(kept, before) s (k, v));
  if octet_length(result::text) > max_bytes then
    perform perch.fail('PE413', format('the result of %s is longer than %s bytes', call_mutator.name, max_bytes),
      jsonb_build_object('limit', 'max_result_bytes', 'max', max_bytes, 'got', octet_length(result::text)));
  end if;
  return coalesce(result, 'null');
end
$$;

comment on function perch.call_mutator(text, text, jsonb) is
  'Private. Calls a registered function on behalf of the current user, and returns its result. Errors: what it raises, PE404, PE413, PE422.';
