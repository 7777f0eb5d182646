-- Postgres says itself whether an expression is a function of the row alone: as that of an index. What it makes of it
-- has every name resolved, so it means the same under any search_path.
create or replace function perch.canonical_expression(relation regclass, expression text)
returns text
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  canonical text;
  message text;
  ddl_before jsonb;
begin
  begin
    ddl_before := perch.keep_ddl_here();
    execute format('create temporary table perch_probe (like %s)', relation);
    execute format('create index perch_probe_expression on pg_temp.perch_probe (((%s)::text))', expression);
    select pg_get_expr(i.indexprs, i.indrelid) into canonical
      from pg_index i where i.indexrelid = 'pg_temp.perch_probe_expression'::regclass;
    drop table pg_temp.perch_probe;
    perform perch.unpin_settings(ddl_before);
  exception when others then
    get stacked diagnostics message = message_text;
    perform perch.fail('PE422', format('space_expression cannot be used: %s', message),
      jsonb_build_object('argument', 'space_expression', 'got', left(expression, 200)),
      'It is an immutable expression over the columns of the row, with the schema of each function that is not Postgres'' own.');
  end;
  -- A bare column is no expression of an index.
  return coalesce(canonical, expression);
end
$$;

comment on function perch.canonical_expression(regclass, text) is
  'Private. An expression over the row of a table, with all names resolved; PE422 when it is none, or not immutable.';
