create or replace function perch.require_console(to_act boolean default false)
returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  me constant text := nullif(current_setting('perch.console_user', true), '');
begin
  if me is null then
    perform perch.fail('PE401', 'nobody has entered the console',
      hint => 'Call perch.enter_console(user_id => …, role => …) first, in the same transaction.');
  end if;
  if to_act and current_setting('perch.console_role', true) is distinct from 'admin' then
    perform perch.fail('PE403', 'a viewer changes nothing in the console', jsonb_build_object('perch_role', 'viewer'),
      'Come with a token that has the claim perch_role: "admin".');
  end if;
  return me;
end
$$;
grant execute on function perch.require_console to perch_worker;

comment on function perch.require_console(boolean) is
  'Private. Who asks in the console (perch.enter_console); PE401 for nobody, PE403 for a viewer where something is to be done.';
