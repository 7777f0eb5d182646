-- The second lock on the console. The first is the gateway's: no token without the claim perch_role comes here. That a
-- login calls this protects from nobody: only perch_worker may, who sees everything as it is. It protects from a
-- mistake in between. Every function of the console asks require_console who is there and as what, so a route that
-- forgets to look at the role shows nothing, an action in a viewer's transaction is refused whatever route it came by,
-- and none is done by nobody.
--
-- The time limit is for everything that follows: what somebody looks at for curiosity must not cost the database more.
create or replace function perch.enter_console(user_id text, role text)
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  perform perch.check_id(enter_console.user_id, 'user_id');
  if enter_console.role is null or enter_console.role not in ('viewer', 'admin') then
    perform perch.fail('PE403', 'the console is for viewers and admins',
      jsonb_build_object('argument', 'role', 'expected', 'viewer or admin'));
  end if;
  perform set_config('perch.console_user', enter_console.user_id, true),
          set_config('perch.console_role', enter_console.role, true),
          set_config('statement_timeout', '5s', true);
end
$$;
grant execute on function perch.enter_console to perch_worker;

comment on function perch.enter_console(text, text) is
  'For perch_worker: names who asks in the console (role: viewer or admin, as their token says), for the rest of the transaction. Without it the functions of the console are PE401. Errors: PE403, PE413, PE422.';
