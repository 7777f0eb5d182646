create or replace function perch.current_user_id()
returns text
language sql stable parallel safe
return nullif(current_setting('app.current_user_id', true), '');
grant execute on function perch.current_user_id to perch_app, perch_worker;

comment on function perch.current_user_id() is
  'The user named for this transaction (setting app.current_user_id), or null.';
