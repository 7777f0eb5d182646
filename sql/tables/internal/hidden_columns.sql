create or replace function perch.hidden_columns(app_id text, table_name text, space_id text)
returns name[]
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select perch.columns_hidden_from(r, (perch.roles_in(array[hidden_columns.space_id]))[1])
    from perch.synced_relations r
   where r.app_id = hidden_columns.app_id and r.table_name = hidden_columns.table_name
$$;

comment on function perch.hidden_columns(text, text, text) is
  'Private. The columns of a synced table that the current user neither sees nor writes in a space; null where it is not synced.';
