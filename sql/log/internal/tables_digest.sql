create or replace function perch.tables_digest(tables text[])
returns text
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
begin
  return (
    select md5(array(select distinct t collate "C" from unnest(tables) t where t is not null order by 1)::text)
      where tables is not null);
end
$$;

comment on function perch.tables_digest(text[]) is
  'Private. What a cursor remembers of the tables it was made with; null for all tables.';
