-- What is set in this database is its text: at first nothing, and at once, whenever this file is applied, what the
-- table of limits has.
create or replace function perch.limit_values()
returns jsonb
language sql stable parallel safe
return '{}'::jsonb;

do $limits$
begin
  perform perch.bake_limits();
end
$limits$;
grant execute on function perch.limit_values to perch_worker;

comment on function perch.limit_values() is
  'Private. The limits that perch.set_limit has set, by name. Its text is made by perch.bake_limits.';
