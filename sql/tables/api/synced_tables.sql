create or replace view perch.synced_tables with (security_invoker = true) as
  select r.app_id, r.table_name, r.relation, r.space_column, r.space_id, r.space_expression, r.columns,
    r.writable_columns, r.documents,
         r.row_filter, r.column_roles, r.always, r.synced_at, perch.table_problems(r.relation) as problems
    from perch.synced_relations r;

comment on view perch.synced_tables is
  'The tables that are part of the log, with the options of perch.sync_table. problems: what keeps changes of a table out of the log, or out of sight; empty when there is none.';
