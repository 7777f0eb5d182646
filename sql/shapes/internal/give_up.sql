-- Volatile: it is called where it stands in an expression, not while that is planned.
create or replace function perch.give_up()
returns text
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  raise exception using errcode = 'PE499', message = 'a row is far longer than others';
end
$$;

comment on function perch.give_up() is
  'Private. Ends a query (SQLSTATE PE499) that perch.shape_rows asks again for fewer rows.';
