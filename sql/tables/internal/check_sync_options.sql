create or replace function perch.check_sync_options(
  relation regclass, app_id text, space_column name, space_id text, space_expression text, table_name text,
  columns name[], writable_columns name[], documents jsonb, row_filter text, column_roles jsonb
)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  class pg_class;
  wrong text;
  place text;
  missing text;
  rule record;
begin
  if relation is null then
    perform perch.fail('PE422', 'relation is missing', jsonb_build_object('argument', 'relation'),
      'For example: perch.sync_table(''public.orders'', ''shop'', space_column => ''team_id'').');
  end if;
  select c.* into class from pg_class c where c.oid = check_sync_options.relation;
  perform perch.check_id(check_sync_options.app_id, 'app_id', 64);
  perform perch.check_id(coalesce(check_sync_options.table_name, class.relname), 'table_name', 128);
  if num_nonnulls(space_column, space_id, space_expression) <> 1 then
    perform perch.fail('PE422', 'exactly one of space_column, space_id and space_expression says the space',
      jsonb_build_object('argument', 'space_column', 'got', num_nonnulls(space_column, space_id, space_expression)),
      'A column that holds it (space_column), one for all rows (space_id), or an expression over the row.');
  end if;
  if check_sync_options.space_id is not null then
    perform perch.check_id(check_sync_options.space_id, 'space_id');
  end if;

  wrong := case
    when class.relkind = 'v' then 'is a view: its rows are those of the tables behind it'
    when class.relkind = 'm' then 'is a materialized view'
    when class.relkind = 'f' then 'is a foreign table: what others write to it cannot be captured'
    when class.relkind not in ('r', 'p') or class.relkind is null then 'is not a table'
    when class.relnamespace = 'perch'::regnamespace then 'is perch''s own'
    when class.relnamespace in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) then 'is Postgres'' own'
    when class.relpersistence = 't' then 'is temporary'
    when class.relpersistence = 'u' then 'is unlogged: a crash empties it, which cannot be captured'
    when class.relispartition then 'is a partition: sync the table that it is part of'
    when class.relkind = 'r' and exists (select from pg_inherits i where class.oid in (i.inhparent, i.inhrelid))
      then 'inherits, or is inherited from: a row may be in several tables'
    when perch.key_columns(class.oid) is null then 'has no primary key'
    when class.relkind = 'p' and exists (select from pg_index i where i.indrelid = class.oid and i.indisprimary
      and not i.indimmediate)
      then 'is partitioned, and its primary key is deferrable' end;
  if wrong is not null then
    perform perch.fail('PE422', format('%s %s', relation, wrong), jsonb_build_object('argument', 'relation',
      'relation', relation),
      'docs/tables.md says which tables can be synced; a view or a foreign table can be copied into one that is.');
  end if;
  place := perch.place_on_citus(class.oid);
  if place is not null then
    perform perch.fail('PE422', format('%s is a %s table of Citus, whose rows are on other nodes than the log',
      relation, place), jsonb_build_object('argument', 'relation', 'relation', relation, 'citus', place),
      'A local table of this node can be synced (select undistribute_table(…)), also one that Citus manages, which '
      'is written through any node; see docs/citus.md.');
  end if;

  select format('%s has no column %s', check_sync_options.relation, n.name) into wrong
    from (
      select check_sync_options.space_column
      union all select unnest(columns)
      union all select unnest(writable_columns)) n (name)
   where n.name is not null and not exists (
     select from pg_attribute a where a.attrelid = class.oid and a.attname = n.name and a.attnum > 0
       and not a.attisdropped)
   limit 1;
  if wrong is not null then
    perform perch.fail('PE422', wrong, jsonb_build_object('relation', relation),
      'Change what is named, or the options; docs/tables.md says what can be synced.');
  end if;
  select a.attname, format(case
           when i.type = 'money'::regtype then 'of type %s, whose text depends on the server''s lc_monetary'
           else 'of type %s, which may hold what jsonb cannot' end,
           concat_ws(', in which is ', nullif(format_type(a.atttypid, null), i.type::text), i.type))
    into missing, wrong
    from pg_attribute a
   cross join lateral (select perch.inexact_type(a.atttypid)) i (type)
   where a.attrelid = class.oid and a.attnum > 0 and not a.attisdropped and i.type is not null
   order by a.attnum limit 1;
  if missing is not null then
    perform perch.fail('PE422', format('%s is %s', missing, wrong),
      jsonb_build_object('relation', relation, 'column', missing), 'Make it numeric, or jsonb.');
  end if;
  select k into missing from unnest(perch.key_columns(class.oid)) k where columns is not null
    and k <> all (columns::text[]) limit 1;
  if missing is not null then
    perform perch.fail('PE422', format('columns lacks %s, which is part of the primary key', missing),
      jsonb_build_object('argument', 'columns', 'column', missing),
      'Name it, too: it is the id by which clients know the row.');
  end if;
  select w into missing from unnest(writable_columns) w where columns is not null and w <> all (columns) limit 1;
  if missing is not null then
    perform perch.fail('PE422', format('%s is to be written, and is not synced', missing),
      jsonb_build_object('argument', 'writable_columns', 'column', missing), 'Name it in columns, too.');
  end if;
  select a.attname into missing from pg_attribute a
   where a.attrelid = class.oid and a.attname = any (writable_columns) and (a.attgenerated <> ''
     or a.attidentity = 'a') limit 1;
  if missing is not null then
    perform perch.fail('PE422', format('%s is generated, so nobody can write it', missing),
      jsonb_build_object('argument', 'writable_columns', 'column', missing),
      'Leave it out of writable_columns.');
  end if;
  if space_column = any (writable_columns) then
    perform perch.fail('PE422',
      format('clients that may write %s could move rows to any space, and there is no rule that says to which',
      space_column),
      jsonb_build_object('argument', 'writable_columns', 'column', space_column),
      'Leave the column out of writable_columns, or say by row_filter which rows a user may see and so make.');
  end if;
  select a.attname into missing from pg_attribute a
   where a.attrelid = class.oid and a.attgenerated = 'v' and not a.attisdropped
     and (columns is null or a.attname = space_column or a.attname = any (columns)) limit 1;
  if missing is not null then
    perform perch.fail('PE422', format('%s is a virtual generated column, which triggers do not see', missing),
      jsonb_build_object('column', missing), 'Make it a stored one, or sync the others alone: name them in columns.');
  end if;

  if jsonb_typeof(coalesce(column_roles, '{}')) <> 'object' then
    perform perch.fail('PE422', 'column_roles is not an object', jsonb_build_object('argument', 'column_roles'),
      '{"salary": ["owner"]}: the roles whose members see and may write the column.');
  end if;
  for rule in select r.key as column_name, r.value as roles from jsonb_each(coalesce(column_roles, '{}')) r loop
    wrong := case
      when not exists (
        select from pg_attribute a where a.attrelid = class.oid and a.attname = rule.column_name and a.attnum > 0
          and not a.attisdropped) then format('column_roles names %s, which is no column', left(rule.column_name, 100))
      when rule.column_name <> all (columns::text[]) then
        format('column_roles names %s, which is not synced', rule.column_name)
      when rule.column_name = any (perch.key_columns(class.oid)) then
        format('%s is part of the primary key, by which everybody knows the row', rule.column_name)
      when rule.column_name = check_sync_options.space_column then
        format('%s is the space of the row, which whoever reads it knows', rule.column_name)
      when jsonb_typeof(rule.roles) <> 'array' then format('the roles of %s are not an array', rule.column_name)
      when rule.roles = '[]' then format('nobody may see %s: then do not sync it (columns)', rule.column_name)
      when not rule.roles <@ '["viewer", "editor", "owner"]' then
        format('the roles of %s are not among viewer, editor, owner', rule.column_name) end;
    if wrong is not null then
      perform perch.fail('PE422', wrong, jsonb_build_object('argument', 'column_roles', 'column',
        left(rule.column_name, 100)),
        'For example: column_roles => ''{"salary": ["owner"]}''; roles are viewer, editor and owner.');
    end if;
  end loop;

  if jsonb_typeof(documents) is distinct from 'object' and documents is not null then
    perform perch.fail('PE422', 'documents is not an object', jsonb_build_object('argument', 'documents'),
      'For example: documents => ''{"body": "text"}''.');
  end if;
  -- A room shows all of a document to everybody who may join it.
  if (select count(distinct (select json_agg(r order by r)::jsonb
               from jsonb_array_elements_text(coalesce(column_roles -> d.key, '["-"]')) r))
        from jsonb_each(coalesce(documents, '{}')) d) > 1
  then
    perform perch.fail('PE422', 'the columns that are documents are not for the same roles',
      jsonb_build_object('argument', 'column_roles'),
      'They are one document, which is seen as a whole: give all of them the same column_roles, or none.');
  end if;
  if documents <> '{}' then
    perform perch.check_column_documents(relation, space_column, columns, documents);
  end if;
end
$$;

comment on function perch.check_sync_options(regclass, text, name, text, text, text, name[], name[], jsonb, text,
  jsonb) is
  'Private. PE422 where perch.sync_table cannot be done with these options, and why.';
