create or replace function perch.drop_row_filter(relation regclass, but text)
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  made constant text := (
    select r.filter_function from perch.synced_relations r
     where r.relation = drop_row_filter.relation and r.filter_function is distinct from but);
  ddl_before jsonb;
begin
  if made is not null and exists (select from pg_class c where c.oid = drop_row_filter.relation) then
    ddl_before := perch.keep_ddl_here();
    perform perch.as_owner(relation, format('drop function if exists %s(jsonb[])', made));
    perform perch.unpin_settings(ddl_before);
  end if;
end
$$;

comment on function perch.drop_row_filter(regclass, text) is
  'Private. Takes away the function that evaluates the row_filter of a table, unless it is that one.';
