-- What the rules of the app say of a row, be it by a constraint, a type, an index or a trigger: the same again is
-- refused again, and nothing beside it is at fault. So is what a trigger raises by a code of its own. Not so what
-- Postgres undoes for the sake of others or for its time, what the server cannot do, and mistakes in functions (class
-- 42), which are mended by who made them while the change waits.
create or replace function perch.is_refusal(code text)
returns boolean
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
return case
  when starts_with(code, 'PE') then code in ('PE403', 'PE404', 'PE409', 'PE410', 'PE413', 'PE422')
  when left(code, 2) = any ('{02,20,21,22,23,27,2F,38,39,44,54,P0}') then true
  when code in ('42501', '42804', '428C9') then true
  else perch.is_apps_code(code) end;
grant execute on function perch.is_refusal to perch_worker;

comment on function perch.is_refusal(text) is
  'Private. Whether an error (its SQLSTATE) in writing a row is a refusal of that row, and no fault of the server, of others at work, or of a function.';
