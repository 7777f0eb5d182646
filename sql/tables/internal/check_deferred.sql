-- A constraint that waits for the commit would fail all of the push there, and with it what is not at fault.
create or replace function perch.check_deferred(relations oid[])
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  names constant text := (
    select string_agg(format('%I.%I', n.nspname, c.conname), ', ')
      from pg_constraint c join pg_namespace n on n.oid = c.connamespace
     where c.condeferred and (c.conrelid = any (relations) or c.confrelid = any (relations)));
  own_path constant text := current_setting('search_path');
begin
  if names is not null then
    perform set_config('search_path', perch.apps_path(relations), true);
    execute 'set constraints ' || names || ' immediate';
    perform set_config('search_path', own_path, true);
    execute 'set constraints ' || names || ' deferred';
  end if;
end
$$;

comment on function perch.check_deferred(oid[]) is
  'Private. Checks the constraints of these tables that are deferred to the commit now, and defers them again. Errors: what they refuse.';
