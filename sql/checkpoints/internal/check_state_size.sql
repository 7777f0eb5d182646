create or replace function perch.check_state_size(bytes bigint)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  max_bytes constant bigint := perch.setting('max_state_bytes', 67108864);
begin
  if check_state_size.bytes > max_bytes then
    perform perch.fail('PE413', format('the state is larger than %s bytes', max_bytes),
      jsonb_build_object('limit', 'max_state_bytes', 'max', max_bytes, 'got', check_state_size.bytes));
  end if;
end
$$;

comment on function perch.check_state_size(bigint) is 'Private. PE413 for more bytes than a state may have.';
