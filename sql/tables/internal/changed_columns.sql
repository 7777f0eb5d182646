-- Numbers are compared as they are stored, too: 1.0 and 1.00 are equal, and not the same. Not as text, of which a
-- number of a few bytes may have 100,000.
create or replace function perch.changed_columns(old_row jsonb, new_row jsonb, columns name[])
returns jsonb
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(json_object_agg(n.key, n.value)::jsonb, '{}')
    from jsonb_each(new_row) n
   where (columns is null or n.key = any (columns))
     and (n.value is distinct from old_row -> n.key
          or jsonb_typeof(n.value) in ('number', 'array', 'object')
             and not row(n.value)::record *= row(old_row -> n.key)::record)
$$;

comment on function perch.changed_columns(jsonb, jsonb, name[]) is
  'Private. Of a row the columns that are not what they were; of these (null: of all).';
