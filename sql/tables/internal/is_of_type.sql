create or replace function perch.is_of_type(value text, type text)
returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  execute format('select %L::%s', value, type);
  return true;
exception when assert_failure or others then
  if perch.is_servers_code(sqlstate) then
    raise;
  end if;
  return false;
end
$$;

comment on function perch.is_of_type(text,
  text) is 'Private. Whether text is a value of a type, which is named as format_type does.';
