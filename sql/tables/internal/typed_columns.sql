-- A row is read from JSON by the columns that it has, and not as a whole row of its table (jsonb_populate_record): that
-- one tries the domains of all columns, and fails where one of those that are missing takes no null.
create or replace function perch.typed_columns(relation oid, columns text[])
returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
-- Planning anew for each call would cost as much as the call.
set plan_cache_mode = force_generic_plan
as $$
begin
  return (
    select string_agg(format('%I %s%s', a.attname, format_type(a.atttypid, a.atttypmod), ' collate '
             || nullif(a.attcollation, t.typcollation)::regcollation), ', ' order by a.attnum)
      from pg_attribute a
      join pg_type t on t.oid = a.atttypid
     where a.attrelid = typed_columns.relation and a.attname = any (columns));
end
$$;

comment on function perch.typed_columns(oid, text[]) is
  'Private. Columns of a table with their types, as jsonb_to_record takes them.';
