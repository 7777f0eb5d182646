create or replace function perch.listed_columns("row" jsonb, columns name[])
returns jsonb
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(json_object_agg(e.key, e.value)::jsonb, '{}') from jsonb_each("row") e where e.key = any (columns)
$$;

comment on function perch.listed_columns(jsonb, name[]) is 'Private. Of a row these columns alone.';
