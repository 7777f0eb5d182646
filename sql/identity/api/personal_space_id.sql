create or replace function perch.personal_space_id(user_id text)
returns text
language sql immutable parallel safe
return '~' || nullif(user_id, '');
grant execute on function perch.personal_space_id to perch_app, perch_worker;

comment on function perch.personal_space_id(text) is
  'The personal space of a user: ~<user_id>. Null for null or the empty string. Example: perch.personal_space_id(user_id => ''alice'') is ~alice.';
