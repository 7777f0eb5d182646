create or replace function perch.console_page(page_size integer)
returns integer
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if console_page.page_size is null or console_page.page_size not between 1 and 200 then
    perform perch.fail('PE422', 'page_size is not between 1 and 200',
      jsonb_build_object('argument', 'page_size', 'expected', '1 to 200', 'got', console_page.page_size));
  end if;
  return console_page.page_size;
end
$$;
grant execute on function perch.console_page to perch_worker;

comment on function perch.console_page(integer) is 'Private. A page of the console: PE422 unless 1 to 200.';
