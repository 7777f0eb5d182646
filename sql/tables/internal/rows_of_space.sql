-- $1: the space. The column is compared with the space in its own type, for its index; where the space is no value of
-- that type, no row has it. Then as text, since one value may be written in several ways, and a collation may take two
-- for equal.
create or replace function perch.rows_of_space(synced perch.synced_relations, space text, careful boolean)
returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  space_column name;
  space_type text;
begin
  if synced.space_id is not null then
    return '$1 is not null';
  elsif synced.space_expression is not null then
    return case when careful then format('perch.try_space(%L, %s, to_jsonb(t.*)) = $1', synced.space_expression,
        synced.relation::oid)
      else format('(%1$s)::text = $1 and (%1$s)::text collate "C" = $1', synced.space_expression) end;
  end if;
  select a.attname, format_type(a.atttypid, a.atttypmod) into space_column, space_type
    from pg_attribute a
   where a.attrelid = synced.relation and a.attnum > 0 and not a.attisdropped
     and (a.attname = synced.space_column or a.attnum = synced.space_column_number)
   order by a.attname = synced.space_column desc limit 1;
  -- Without the column no row is in any space.
  return case when space_column is not null and perch.is_of_type(space, space_type) then
      format('t.%1$I = %2$L::%3$s and to_jsonb(t.*) ->> %1$L = $1', space_column, space, space_type)
    else '$1 is null' end;
end
$$;

comment on function perch.rows_of_space(perch.synced_relations, text, boolean) is
  'Private. The condition by which rows t of a synced table are in a space. careful: rows for which the expression of the space fails are in none.';
