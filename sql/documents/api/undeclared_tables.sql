create or replace function perch.undeclared_tables(declarations jsonb)
returns table (app_id text, table_name text, fields text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select w.line ->> 'app_id', w.line ->> 'table', (w.line -> 'fields')::text
    from jsonb_array_elements(declarations) w (line)
    left join perch.document_tables t on t.app_id = w.line ->> 'app_id' and t.table_name = w.line ->> 'table'
   where (t.fields @> (w.line -> 'fields')) is not true
$$;
grant execute on function perch.undeclared_tables to perch_app;

comment on function perch.undeclared_tables(jsonb) is
  'Used by perch import: which of these declarations ([{"app_id", "table", "fields"}]) do not hold here: the table is not declared, or not with these kinds.';
