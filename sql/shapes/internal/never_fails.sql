-- Columns that are compared with constants alone, as perch.compares_plainly takes them: whatever is in the row, the
-- comparison is true, false or null. A constant that is none of its type fails before any row is looked at: those that
-- have no type of their own, and those that are cast to one that is Postgres' own, are read while the statement is
-- parsed. Not so a cast to a domain, whose conditions are tried where a row is.
--
-- strict: a path that is lax looks into an array instead of at it, and so would pass over the whole filter.
--
-- Two columns may be of collations that conflict, and of types of which one is cast to the other: so none are compared.
create or replace function perch.never_fails(filter jsonb, columns jsonb)
returns boolean
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
  select filter is null or filter = 'null' or not exists (
    select from jsonb_path_query(filter, 'strict $.** ? (@.type() == "array" && @[0].type() == "string")') n
     where case n ->> 0
             when 'op' then n ->> 1 <> all ('{=,<>,!=,<,<=,>,>=}') or not perch.compares_plainly(n -> 2, columns)
             when 'any' then n ->> 1 <> all ('{=,<>}') or n -> 3 ->> 0 <> 'value'
               or not perch.compares_plainly(jsonb_build_array(n -> 2), columns)
             when 'in' then not perch.compares_plainly(jsonb_build_array(n -> 1) || (n -> 2), columns)
             when 'distinct' then not perch.compares_plainly(jsonb_build_array(n -> 1, n -> 2), columns)
             when 'cast' then n -> 1 ->> 0 <> 'value' or n ->> 2 <> all (perch.plain_types())
             else n ->> 0 <> all ('{column,value,and,or,not,is}') end)
$$;

comment on function perch.never_fails(jsonb, jsonb) is
  'Private. Whether a filter (a tree) is of parts that fail for no row. columns: as perch.shape_columns says.';
