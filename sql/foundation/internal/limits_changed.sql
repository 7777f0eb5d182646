create or replace function perch.limits_changed()
returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform perch.bake_limits();
  return null;
end
$$;

comment on function perch.limits_changed() is
  'Private. Trigger of the limits: brings perch.limit_values up to date, however the table was written.';
