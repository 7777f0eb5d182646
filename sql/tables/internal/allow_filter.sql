create or replace function perch.allow_filter(owner name)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if not has_schema_privilege(owner, 'perch', 'USAGE') then
    execute format('grant usage on schema perch to %I', owner);
  end if;
  if not has_function_privilege(owner, 'perch.current_user_id()', 'EXECUTE') then
    execute format('grant execute on function perch.current_user_id() to %I', owner);
  end if;
end
$$;

comment on function perch.allow_filter(name) is
  'Private. Lets the owner of a table ask in a row_filter who the current user is.';
