create or replace function perch.declared_since(since timestamptz)
returns table (app_id text, table_name text, fields text, updated_at text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return query
    select t.app_id, t.table_name, t.fields::text, t.updated_at::text
      from perch.document_tables t
     where t.updated_at > declared_since.since
     order by t.updated_at;
end
$$;
grant execute on function perch.declared_since to perch_worker;

comment on function perch.declared_since(timestamptz) is
  'Private. The document tables that were declared, or declared again, after a time, the latest last.';
