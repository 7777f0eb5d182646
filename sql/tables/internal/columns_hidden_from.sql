create or replace function perch.columns_hidden_from(column_roles jsonb, role text)
returns name[]
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(array_agg(c.key::name order by c.key), '{}')
    from jsonb_each(column_roles) c
   where (c.value ? role) is not true
$$;

comment on function perch.columns_hidden_from(jsonb, text) is
  'Private. The columns that a member of this role (null: nobody) neither sees nor writes, by the column_roles of a synced table.';
