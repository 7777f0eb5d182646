-- By name, as images of rows have them; and a column that was renamed since perch.sync_table also by the name that it
-- has now.
create or replace function perch.columns_hidden_from(synced perch.synced_relations, role text)
returns name[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  if synced.column_roles = '{}' then
    return '{}';
  end if;
  return array(
    with hidden as (
      select c.key::name as name, (synced.column_role_numbers ->> c.key)::integer as number
        from jsonb_each(synced.column_roles) c where (c.value ? role) is not true
    )
    select h.name from hidden h
    union
    select a.attname
      from hidden h join pg_attribute a on a.attrelid = synced.relation and a.attnum = h.number and not a.attisdropped
     where not exists (
       select from pg_attribute x where x.attrelid = synced.relation and x.attname = h.name and not x.attisdropped)
     order by 1);
end
$$;

comment on function perch.columns_hidden_from(perch.synced_relations, text) is
  'Private. The columns of a synced table that a member of this role (null: nobody) neither sees nor writes, by its column_roles.';
