-- The constant is of the column's own type, or becomes so, or both become what the column's values fit into: a numeric
-- is not compared as floating point, since it may be too large for that.
create or replace function perch.compares_plainly(operands jsonb, columns jsonb)
returns boolean
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
  select count(*) filter (where o ->> 0 = 'column') <= 1 and bool_and(case o ->> 0
           when 'value' then true
           when 'column' then c.plain is not null
           when 'cast' then case
             when c.plain is null or c.plain = o ->> 2 then true
             when c.plain in ('text', 'varchar', 'bpchar') then o ->> 2 in ('text', 'varchar', 'bpchar')
             when c.plain in ('int2', 'int4', 'int8', 'float4', 'float8')
               then o ->> 2 in ('int2', 'int4', 'int8', 'numeric', 'float4', 'float8')
             when c.plain = 'numeric' then o ->> 2 in ('int2', 'int4', 'int8')
             else false end
           else false end)
    from jsonb_array_elements(operands) o
   cross join (select min(columns -> (n ->> 1) ->> 'plain') as plain
                 from jsonb_array_elements(operands) n where n ->> 0 = 'column') c
$$;

comment on function perch.compares_plainly(jsonb, jsonb) is
  'Private. Whether these parts of a filter (trees) are constants, and one column at most, whose type is plain, and each of whose values may be compared with them.';
