-- $1: the space; $2: how many. The column is compared with the space in its own type, for its index; where the space is
-- no value of that type, no row has it. Then as text, since one value may be written in several ways.
create or replace function perch.synced_rows(synced perch.synced_relations, space text, after_id text, careful boolean)
returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  keys constant text[] := perch.key_columns(synced.relation);
  hidden constant text[] := array(
    select a.attname from pg_attribute a where a.attrelid = synced.relation and a.attgenerated = 'v'
      and not a.attisdropped);
  key constant jsonb := perch.row_key(synced.relation, after_id);
  space_column name;
  space_type text;
begin
  if synced.space_column is not null then
    select a.attname, format_type(a.atttypid, a.atttypmod) into space_column, space_type
      from pg_attribute a
     where a.attrelid = synced.relation and a.attnum > 0 and not a.attisdropped
       and (a.attname = synced.space_column or a.attnum = synced.space_column_number)
     order by a.attname = synced.space_column desc limit 1;
  end if;
  return format(
    'select perch.row_id(%s, x.row, %L) as record_id, %s as data, x.row as image from (select to_jsonb(t.*) as row from %s t where %s %s order by %s limit $2) x',
    synced.relation::oid, keys,
    case when synced.columns is not null then format('perch.listed_columns(x.row, %L)', synced.columns)
         when hidden <> '{}' then format('x.row - %L::text[]', hidden) else 'x.row' end,
    synced.relation,
    case when synced.space_id is not null then '$1 is not null'
         when synced.space_column is not null then case when perch.is_of_type(space, space_type) then
           format('t.%1$I = %2$L::%3$s and to_jsonb(t.*) ->> %1$L = $1', space_column, space, space_type)
             else '$1 is null' end
         when careful then format('perch.try_space(%L, %s, to_jsonb(t.*)) = $1', synced.space_expression,
           synced.relation::oid)
         else format('(%s)::text = $1', synced.space_expression) end,
    case when key is not null then (
      select format('and (%s) > (%s)', string_agg(format('t.%I', k.name), ', ' order by k.nth),
               string_agg(format('%L::%s', key ->> k.name, format_type(a.atttypid, a.atttypmod)), ', ' order by k.nth))
        from unnest(keys) with ordinality k (name, nth)
        join pg_attribute a on a.attrelid = synced.relation and a.attname = k.name) end,
    (select string_agg(format('t.%I', k.name), ', ' order by k.nth) from unnest(keys) with ordinality k (name, nth)));
end
$$;

comment on function perch.synced_rows(perch.synced_relations, text, text, boolean) is
  'Private. The query for the rows of a synced table in a space, behind the one with this id (null: from the first): record_id, data, and all of the row (image). careful: rows for which the expression of the space fails are in none.';
