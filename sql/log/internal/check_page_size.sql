create or replace function perch.check_page_size(page_size integer)
returns integer
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if page_size is null or page_size not between 1 and 10000 then
    perform perch.fail('PE422', 'page_size is not between 1 and 10000',
      jsonb_build_object('argument', 'page_size', 'expected', '1 to 10000', 'got', page_size));
  end if;
  return page_size;
end
$$;

comment on function perch.check_page_size(integer) is 'Private. PE422 unless 1 to 10000.';
