create or replace function perch.note_synced_table(
  relation regclass, app_id text, table_name text, space_column name, space_id text, space_expression text,
  columns name[], writable_columns name[], documents jsonb, row_filter text, column_roles jsonb, always boolean,
  filter_function text, reads_more boolean, has_same_key boolean
)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  other perch.synced_relations;
  added text;
  before perch.synced_relations;
begin
  -- Of tables that were dropped.
  perform perch.forget_synced_table(r.relation) from perch.synced_relations r
    where not exists (select from pg_class c where c.oid = r.relation);

  select r.* into other from perch.synced_relations r
   where r.app_id = note_synced_table.app_id and r.table_name = note_synced_table.table_name
     and r.relation <> note_synced_table.relation;
  if found then
    perform perch.fail('PE422', format('in the log of this app %s is the name of %s', note_synced_table.table_name,
      other.relation),
      jsonb_build_object('argument', 'table_name', 'relation', other.relation), 'Pass another table_name.');
  end if;
  if exists (select from perch.document_tables d where d.app_id = note_synced_table.app_id
    and d.table_name = note_synced_table.table_name
    and (perch.document_relation(d.app_id, d.table_name)).relation is null)
     or exists (select from perch.encrypted_tables d where d.app_id = note_synced_table.app_id
       and d.table_name = note_synced_table.table_name) then
    perform perch.fail('PE422', format('%s is the name of a table of documents in this app',
      note_synced_table.table_name),
      jsonb_build_object('argument', 'table_name'), 'Pass another table_name.');
  end if;
  if not exists (
    select from perch.synced_relations r
     where r.app_id = note_synced_table.app_id and r.table_name = note_synced_table.table_name)
  then
    begin
      perform perch.require_no_records(note_synced_table.app_id, note_synced_table.table_name);
    exception when sqlstate 'PE422' then
      perform perch.fail('PE422', format('there are records of the name %s in this app, and a name means one of both',
        note_synced_table.table_name),
        jsonb_build_object('argument', 'table_name'),
          'Pass another table_name, or move them to the table and delete them by a push first.');
    end;
  end if;

  if exists (
    select from perch.document_tables d
     where d.app_id = note_synced_table.app_id and d.table_name = note_synced_table.table_name
       and not note_synced_table.documents @> d.fields)
  then
    perform perch.fail('PE422', 'columns that are documents stay documents, of their kind', jsonb_build_object(
      'argument', 'documents', 'expected', (
        select d.fields from perch.document_tables d
         where d.app_id = note_synced_table.app_id and d.table_name = note_synced_table.table_name)),
      'Name them as before, or call perch.unsync_table first: their text stays in the columns, their history goes.');
  end if;

  -- A row that is a document began without it: what the column has would be taken for something that was deleted.
  select k.name into added
    from jsonb_object_keys(note_synced_table.documents) k (name)
   where not exists (
           select from perch.document_tables d
            where d.app_id = note_synced_table.app_id and d.table_name = note_synced_table.table_name
              and d.fields ? k.name)
     and exists (
       select from perch.row_documents r
        where r.app_id = note_synced_table.app_id and r.table_name = note_synced_table.table_name)
   limit 1;
  if added is not null then
    perform perch.fail('PE422', format('%s cannot become a document: rows of this table are documents without it',
      added),
      jsonb_build_object('argument', 'documents', 'column', added),
      'Call perch.unsync_table first: what people wrote stays in the columns, its history goes.');
  end if;

  select r.* into before from perch.synced_relations r where r.relation = note_synced_table.relation;
  if (before.app_id, before.table_name) is distinct from (note_synced_table.app_id, note_synced_table.table_name) then
    perform perch.forget_synced_table(note_synced_table.relation);
  else
    delete from perch.synced_relations r where r.relation = note_synced_table.relation;
  end if;
  insert into perch.synced_relations
    (app_id, table_name, relation, space_column, space_column_number, space_id, space_expression, columns,
      writable_columns, documents,
     row_filter, column_roles, column_role_numbers, always, filter_function, reads_more, rules_mark)
  values (note_synced_table.app_id, note_synced_table.table_name, note_synced_table.relation,
    note_synced_table.space_column,
          (select a.attnum from pg_attribute a where a.attrelid = note_synced_table.relation
            and a.attname = note_synced_table.space_column),
          note_synced_table.space_id, note_synced_table.space_expression, note_synced_table.columns,
            note_synced_table.writable_columns,
          note_synced_table.documents, note_synced_table.row_filter, note_synced_table.column_roles,
          (select coalesce(json_object_agg(a.attname, a.attnum)::jsonb, '{}') from pg_attribute a
            where a.attrelid = note_synced_table.relation and a.attnum > 0 and not a.attisdropped
              and note_synced_table.column_roles ? a.attname),
            note_synced_table.always, note_synced_table.filter_function, note_synced_table.reads_more,
          -- What readers have was given to them by other rules, or by none; or it has other columns, or other ids, or
          -- was in other spaces, or under another name; or it was synced once, and nobody was told what was written
          -- since.
          case when (coalesce(before.column_roles, '{}'), before.row_filter)
              is not distinct from (note_synced_table.column_roles, note_synced_table.row_filter)
            and case
              when before.relation is null then not exists (
                select from perch.closed_logs c
                 where c.app_id = note_synced_table.app_id and c.table_name = note_synced_table.table_name
                   and c.position = 0)
              else has_same_key
                and (before.table_name, before.columns, before.space_id, before.space_expression,
                  before.space_column_number) is not distinct from
                  (note_synced_table.table_name, note_synced_table.columns, note_synced_table.space_id,
                  note_synced_table.space_expression, (
                    select a.attnum from pg_attribute a where a.attrelid = note_synced_table.relation
                      and a.attname = note_synced_table.space_column)) end
            then before.rules_mark else gen_random_uuid() end);
  if note_synced_table.documents <> '{}' then
    perform perch.declare_table(note_synced_table.app_id, note_synced_table.table_name, note_synced_table.documents);
  end if;
end
$$;

comment on function perch.note_synced_table(regclass, text, text, name, text, text, name[], name[], jsonb, text, jsonb,
  boolean, text, boolean, boolean) is
  'Private. Writes down the options of a synced table, for perch.sync_table, which has checked them. has_same_key: its rows have the ids that they had when it was synced before. PE422 when the name is taken.';
