create or replace function perch.check_count(max_count integer)
returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if max_count is null or max_count not between 1 and 10000 then
    perform perch.fail('PE422', 'max_count is not between 1 and 10000',
      jsonb_build_object('argument', 'max_count', 'expected', '1 to 10000', 'got', max_count));
  end if;
end
$$;

comment on function perch.check_count(integer) is 'Private. PE422 unless 1 to 10000.';
