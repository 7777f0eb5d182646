-- With the rights of whoever calls: grants and a policy on the table are made by its owner (perch.as_owner), and what
-- perch notes of it by a member of perch_owner (perch.note_synced_table).
--
-- A trigger of the table waits for whoever is writing it, and has them wait for itself: so with the commit everybody's
-- next statement is captured, and nobody's is captured in half.
create or replace function perch.sync_table(
  relation regclass, app_id text, space_column name default null, space_id text default null,
    space_expression text default null,
  table_name text default null, columns name[] default null, writable_columns name[] default null,
    documents jsonb default '{}',
  row_filter text default null, column_roles jsonb default '{}', always boolean default false
)
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  class pg_class;
  expression text;
  filter record;
  has_same_key boolean;
begin
  select c.* into class from pg_class c where c.oid = sync_table.relation;
  perform perch.check_sync_options(sync_table.relation, sync_table.app_id, sync_table.space_column, sync_table.space_id,
    sync_table.space_expression, sync_table.table_name, sync_table.columns, sync_table.writable_columns,
      sync_table.documents,
    sync_table.row_filter, sync_table.column_roles);

  perform perch.open_table(sync_table.relation);
  if sync_table.writable_columns <> '{}' or sync_table.documents <> '{}' then
    perform perch.open_writing(sync_table.relation);
  end if;
  if sync_table.space_expression is not null then
    expression := perch.canonical_expression(sync_table.relation, sync_table.space_expression);
  end if;
  select null::text as made, false as reads_more into filter;
  if sync_table.row_filter is not null then
    filter := perch.make_row_filter(sync_table.relation, sync_table.row_filter, sync_table.documents,
      sync_table.columns, sync_table.column_roles);
  end if;
  perform perch.drop_row_filter(sync_table.relation, but => filter.made);
  has_same_key := coalesce(perch.has_captured_key(sync_table.relation), true);
  perform perch.make_sync_triggers(sync_table.relation, array[sync_table.app_id, coalesce(sync_table.table_name,
    class.relname)]
    || case when sync_table.space_column is not null then array['column', sync_table.space_column]
            when sync_table.space_id is not null then array['constant', sync_table.space_id] else array['expression',
              expression] end
    || perch.key_columns(sync_table.relation), coalesce(sync_table.always, false),
    with_documents => coalesce(sync_table.documents <> '{}', false));
  perform perch.note_synced_table(sync_table.relation, sync_table.app_id, coalesce(sync_table.table_name,
    class.relname),
    sync_table.space_column, sync_table.space_id, expression, sync_table.columns, coalesce(sync_table.writable_columns,
      '{}'),
    coalesce(sync_table.documents, '{}'), sync_table.row_filter, coalesce(sync_table.column_roles, '{}'),
      coalesce(sync_table.always, false), filter.made, filter.reads_more,
    has_same_key);
end
$$;

comment on function perch.sync_table(regclass, text, name, text, text, text, name[], name[], jsonb, text, jsonb,
  boolean) is
  'For the DBA, in a migration: makes a typed table part of the log of an app, whoever writes it, from the next transaction on; by the owner of the table who is a member of perch_owner, or a superuser. Exactly one of the three says in which space a row is (null: in none): space_column, a column; space_id, one space for all; space_expression, an immutable SQL expression over the row. table_name: its name in the log, by default that of the table, without its schema. columns: what is synced, by default every column; writable_columns: what clients may write by perch.push, by default none; perch_owner, as whom that is written, is granted insert, update and delete, and the table''s row level security binds it. documents: columns that are Loro documents, with the kind of each ({"body": "text"}; kinds as in perch.declare_table): people edit them in rooms, plain SQL writes them as ever, and both are merged. row_filter: a condition over the row and perch.current_user_id(), evaluated with the rights of the table''s owner: the rows that a reader sees, and may write. column_roles: {"salary": ["owner"]}, for a column the roles whose members see it and may write it; columns that are documents are for the same roles, and no row_filter reads them. always: also what replication''s appliers write (session_replication_role = replica). Rows that are there are part of snapshots; the log begins with the next change. Called again it changes the options; with other rules, readers begin anew (PE410). Errors: PE413, PE422, which say what is not possible and why. Example: select perch.sync_table(relation => ''public.orders'', app_id => ''shop'', space_column => ''team_id'');';
