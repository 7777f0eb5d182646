create or replace function perch.setting(name text, fallback bigint)
returns bigint
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(nullif(current_setting('perch.' || name, true), '')::bigint, fallback)
$$;

comment on function perch.setting(text, bigint) is
  'Private. A limit of perch, which a DBA sets with, for example, alter database app set perch.max_update_bytes = 4194304, or its fallback.';
