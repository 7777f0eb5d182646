-- Comparisons with constants alone: whatever is in the row, they are true, false or null. A constant that is none of
-- its type fails before any row is looked at.
create or replace function perch.never_fails(filter jsonb)
returns boolean
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
  select filter is null or filter = 'null' or not exists (
    select from jsonb_path_query(filter, 'lax $.** ? (@.type() == "array" && @[0].type() == "string")') n
     where case n ->> 0 when 'op' then n ->> 1 <> all ('{=,<>,!=,<,<=,>,>=}')
                        when 'any' then n ->> 1 <> all ('{=,<>}') or n -> 3 ->> 0 <> 'value'
                        when 'cast' then n -> 1 ->> 0 <> 'value'
                        else n ->> 0 <> all ('{column,value,and,or,not,is,in,distinct}') end)
$$;

comment on function perch.never_fails(jsonb) is
  'Private. Whether a filter (a tree) is of parts that fail for no row.';
