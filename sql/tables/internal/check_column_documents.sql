create or replace function perch.check_column_documents(
  relation regclass, space_column name, columns name[], documents jsonb
)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  wrong record;
begin
  if (select c.relrowsecurity from pg_class c where c.oid = check_column_documents.relation) then
    perform perch.fail('PE422',
      format('%s has row level security, which binds perch_owner, who writes what people edit', relation),
      jsonb_build_object('argument', 'documents', 'relation', relation),
      'Say who may by the space, and by row_filter and column_roles; or keep the documents in a table of their own.');
  end if;
  with recursive types (name, oid, typtype, base) as (
    select a.attname, t.oid, t.typtype, t.typbasetype
      from pg_attribute a join pg_type t on t.oid = a.atttypid
     where a.attrelid = check_column_documents.relation and a.attnum > 0 and not a.attisdropped
    union all
    select d.name, t.oid, t.typtype, t.typbasetype from types d join pg_type t on t.oid = d.base where d.typtype = 'd'
  ),
  given as (
    select d.key as name, d.value as said, d.value #>> '{}' as kind, a.attgenerated, a.attidentity, t.oid,
           (select p.typcategory from pg_type p where p.oid = t.oid) as category
      from jsonb_each(documents) d
      left join pg_attribute a
        on a.attrelid = check_column_documents.relation and a.attname = d.key and a.attnum > 0 and not a.attisdropped
      left join types t on t.name = d.key and t.typtype <> 'd'
  )
  select g.name, p.problem into wrong
    from given g
   cross join lateral (
     select case
       when g.attgenerated is null then 'is no column of the table'
       when g.attgenerated <> '' or g.attidentity <> '' then 'is generated, so nobody can edit it'
       when g.name = any (perch.key_columns(relation)) then 'is part of the primary key'
       when g.name = space_column then 'says in which space a row is'
       when columns is not null and g.name <> all (columns::text[]) then 'is not among the columns that are synced'
       when case g.kind when 'text' then g.category = 'S' when 'string' then g.category = 'S'
                        when 'number' then g.category = 'N' when 'integer' then g.category = 'N'
                        when 'counter' then g.category = 'N' when 'boolean' then g.category = 'B'
                        when 'datetime' then g.oid in ('date'::regtype, 'timestamptz'::regtype)
                        else g.oid = 'jsonb'::regtype end is not true
         then format('is of type %s, which does not hold what a document of the kind %s has', format_type(g.oid, null),
           left(g.said::text, 100)) end) p (problem)
   where p.problem is not null
   order by g.name
   limit 1;
  if found then
    perform perch.fail('PE422', format('documents: %s %s', wrong.name, wrong.problem),
      jsonb_build_object('argument', 'documents', 'column', wrong.name),
      'Kinds are those of perch.declare_table: text and string take a column of text, number, integer and counter a number, boolean, datetime a date or a timestamptz, and the others jsonb.');
  end if;
end
$$;

comment on function perch.check_column_documents(regclass, name, name[], jsonb) is
  'Private. PE422 where columns cannot be documents of these kinds, and why.';
