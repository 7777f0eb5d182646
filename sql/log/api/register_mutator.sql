-- With the rights of whoever calls it, who has to be allowed to pass on what perch_owner needs to call the function.
create or replace function perch.register_mutator(app_id text, name text, function regprocedure)
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  fault text;
  target record;
begin
  perform perch.check_id(register_mutator.app_id, 'app_id', 64);
  perform perch.check_id(register_mutator.name, 'name', 128);
  if register_mutator.function is null then
    delete from perch.mutators m where m.app_id = register_mutator.app_id and m.name = register_mutator.name;
    return;
  end if;
  fault := perch.mutator_fault(register_mutator.function);
  if fault is not null then
    perform perch.fail('PE422', format('%s cannot be a mutator: %s', register_mutator.function, fault),
      jsonb_build_object('argument', 'function', 'got', register_mutator.function::text, 'reason', fault),
      'A mutator is a function (args jsonb) returns jsonb, SECURITY DEFINER, with a search_path of its own (set search_path = …),'
        ' owned by a role of the app.');
  end if;
  select format('%I.%I', n.nspname, p.proname) as name, p.oid, n.nspname as schema,
         not has_schema_privilege('perch_owner', n.oid, 'usage') as needs_schema,
         not has_function_privilege('perch_owner', p.oid, 'execute') as needs_function
    into strict target
    from pg_proc p join pg_namespace n on n.oid = p.pronamespace where p.oid = register_mutator.function;
  begin
    if target.needs_schema then
      execute format('grant usage on schema %I to perch_owner', target.schema);
    end if;
    if target.needs_function then
      execute format('grant execute on function %s to perch_owner', register_mutator.function);
    end if;
  exception when insufficient_privilege then
    perform perch.fail('PE422', format('perch_owner may not call %s', register_mutator.function),
      jsonb_build_object('argument', 'function', 'got', register_mutator.function::text, 'reason', 'not granted'),
      format('As their owners: grant usage on schema %I to perch_owner; grant execute on function %s to perch_owner;',
        target.schema, register_mutator.function));
  end;
  insert into perch.mutators as m (app_id, name, function)
  values (register_mutator.app_id, register_mutator.name, target.name)
  on conflict on constraint mutators_pkey do update set function = excluded.function, registered_at = clock_timestamp();
end
$$;

comment on function perch.register_mutator(text, text, regprocedure) is
  'For the DBA, in a migration: makes a function one that clients call by name, in a push: {"op": "call", "name", "args", "op_id"}. It is given args and returns the result; it runs in the push''s transaction, with the rights of its owner, and the user in the context (perch.current_user_id()); what it raises undoes what it did, and is the error of that change. It must be a SECURITY DEFINER function (args jsonb) returns jsonb with a search_path of its own, owned by a role of the app: neither a superuser nor perch_owner. perch_owner is granted what it needs to call it. Registering a name again replaces the function; null takes it away. Errors: PE422, saying what is wrong with the function. Example: select perch.register_mutator(app_id => ''shop'', name => ''place_order'', function => ''shop.place_order(jsonb)'');';
