-- $1: the space; $2: how many.
create or replace function perch.synced_rows(synced perch.synced_relations, space text, after_id text, careful boolean)
returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  keys constant text[] := perch.key_columns(synced.relation);
  types constant text[] := array(
    select format_type(a.atttypid, a.atttypmod) from unnest(keys) with ordinality k (name, nth)
      join pg_attribute a on a.attrelid = synced.relation and a.attname = k.name order by k.nth);
  hidden constant text[] := array(
    select a.attname from pg_attribute a where a.attrelid = synced.relation and a.attgenerated = 'v'
      and not a.attisdropped);
  key constant jsonb := perch.row_key(synced.relation, after_id);
begin
  return format(
    'select perch.row_id(%s, x.row, %L) as record_id, %s as data, x.row as image from (select to_jsonb(t.*) as row from %s t where %s %s order by %s limit $2) x',
    synced.relation::oid, keys,
    case when synced.columns is not null then format('perch.listed_columns(x.row, %L)', synced.columns)
         when hidden <> '{}' then format('x.row - %L::text[]', hidden) else 'x.row' end,
    synced.relation,
    perch.rows_of_space(synced, space, careful),
    case when key is not null then
      'and ' || perch.compared_key('t', keys, types, '>', array(
        select key ->> k.name from unnest(keys) with ordinality k (name, nth) order by k.nth)) end,
    (select string_agg(format('t.%I', k.name), ', ' order by k.nth) from unnest(keys) with ordinality k (name, nth)));
end
$$;

comment on function perch.synced_rows(perch.synced_relations, text, text, boolean) is
  'Private. The query for the rows of a synced table in a space, behind the one with this id (null: from the first): record_id, data, and all of the row (image). careful: rows for which the expression of the space fails are in none.';
