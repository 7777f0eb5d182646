create or replace function perch.is_same_plain(part jsonb, columns jsonb, selected jsonb)
returns boolean
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(selected ->> 'plain' is not null and (part ->> 0 = 'value' or part ->> 0 = 'column'
    and columns -> (part ->> 1) ->> 'plain' = selected ->> 'plain'
    and columns -> (part ->> 1) -> 'collation' is not distinct from selected -> 'collation'), false)
$$;

comment on function perch.is_same_plain(jsonb, jsonb, jsonb) is
  'Private. Whether a part of a filter (a tree) may be compared with each value of a column that is selected: it is a constant, or a column of the same plain type and collation. columns, selected: as perch.shape_columns says.';
