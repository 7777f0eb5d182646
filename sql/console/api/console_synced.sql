create or replace function perch.console_synced()
returns json
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  perform perch.require_console();
  return json_build_object(
    'tables', (
      select coalesce(json_agg(json_build_object('app_id', r.app_id, 'table', r.table_name,
               'relation', r.relation::text, 'space_column', r.space_column, 'space_id', r.space_id,
               'space_expression', r.space_expression, 'columns', r.columns, 'writable_columns', r.writable_columns,
               'documents', r.documents, 'row_filter', r.row_filter, 'column_roles', r.column_roles, 'always', r.always,
               'synced_at', perch.time_text(r.synced_at), 'problems', perch.table_problems(r.relation),
               'rows', (
                  select case when c.reltuples >= 0 then c.reltuples::bigint end from pg_class c
                   where c.oid = r.relation))
                 order by r.app_id, r.table_name), '[]')
        from (select x.* from perch.synced_relations x order by x.app_id, x.table_name limit 200) r),
    'waiting', (
      select coalesce(json_agg(json_build_object('app_id', w.app_id, 'table', w.table_name, 'changes', w.changes,
               'seconds', w.seconds)), '[]')
        from (
          select c.app_id, c.table_name, count(*) as changes,
                 extract(epoch from clock_timestamp() - min(c.captured_at))::float8 as seconds
            from (select x.* from perch.captured_changes x order by x.ordinal, x.nth limit 10000) c
           group by c.app_id, c.table_name) w));
end
$$;
grant execute on function perch.console_synced to perch_worker;

comment on function perch.console_synced() is
  'For perch_worker, of the console: the synced tables with their options and what is wrong with them, and what waits for its number (of the 10,000 oldest): {"tables", "waiting"}. Errors: PE401.';
