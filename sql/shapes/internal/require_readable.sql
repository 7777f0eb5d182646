-- Asked where a query that reads images failed, for whoever has to know by what. An image that cannot be read back (its
-- column has another type since, its type other values; JSON does not keep an array of jsonb) is nobody's fault, and
-- stays as it is: whoever has to read it begins anew, behind it. Anything else is raised by the one who asks.
create or replace function perch.require_readable(relation oid, images text, texts text)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  execute format('select count(perch_row.*) from (%s) i (image) cross join lateral %s where i.image is not null',
    images, perch.image_row(relation, 'i.image', texts));
exception when others then
  if perch.is_servers_code(sqlstate) then
    raise;
  end if;
  perform perch.fail('PE410', 'the log has a row as the table does not take it any more',
    jsonb_build_object('sqlstate', sqlstate), 'Fetch the shape from its beginning: offset -1, without a handle.');
end
$$;

comment on function perch.require_readable(oid, text, text) is
  'Private. PE410 where one of these images of rows (a query) cannot be read back by the columns that these texts name (perch.image_row).';
