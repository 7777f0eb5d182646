create or replace function perch.gives_array(node jsonb, columns jsonb)
returns boolean
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
  select case node ->> 0
           when 'column' then columns -> (node ->> 1) -> 'schema' ? 'dims'
           when 'array' then true
           when 'cast' then coalesce((node -> 3)::boolean, false) or exists (
             select from jsonb_each(columns) c
              where node ->> 2 in (c.value ->> 'name', c.value ->> 'spelled') and c.value -> 'schema' ? 'dims')
           when 'call' then node ->> 1 = any ('{array_append,array_prepend,array_cat,array_remove,string_to_array}')
           when 'op' then node ->> 1 = '||' and exists (
             select from jsonb_array_elements(node -> 2) o where perch.gives_array(o, columns))
           when 'nullif' then perch.gives_array(node -> 1, columns)
           when 'case' then perch.gives_array(node -> 2, columns) or exists (
             select from jsonb_array_elements(node -> 1) b where perch.gives_array(b -> 1, columns))
           else node ->> 0 = any ('{coalesce,greatest,least}') and exists (
             select from jsonb_array_elements(node -> 1) o where perch.gives_array(o, columns)) end
$$;

comment on function perch.gives_array(jsonb, jsonb) is
  'Private. Whether a part of a filter (a tree) is an array. columns: as perch.shape_columns says.';
