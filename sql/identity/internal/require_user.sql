create or replace function perch.require_user()
returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  if nullif(current_setting('app.current_user_id', true), '') is null then
    perform perch.fail('PE401', 'no user is named in this transaction',
      hint => 'Call perch.set_context(user_id => …) first, in the same transaction.');
  end if;
  return current_setting('app.current_user_id', true);
end
$$;

comment on function perch.require_user() is
  'Private. The current user; PE401 when none is named.';
