-- As perch.synced_rows, for several spaces ($1) at once: the column is compared in its own type and collation, for its
-- index, and then as text, since one value may be written in several ways, and a collation may take two for equal.
create or replace function perch.shape_space(
  synced perch.synced_relations, spaces text[], careful boolean, given text default '$1'
)
returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  place record;
begin
  if synced.space_id is not null then
    return format('%L = any (%s)', synced.space_id, given);
  elsif synced.space_expression is not null then
    return case when careful
      then format('perch.try_space(%L, %s, to_jsonb(t.*)) = any (%s)', synced.space_expression, synced.relation::oid,
        given)
      else format('(%1$s)::text = any (%2$s) and (%1$s)::text collate "C" = any (%2$s)', synced.space_expression,
        given) end;
  end if;
  select a.attname as name, format_type(a.atttypid, a.atttypmod) as type, a.atttypid in ('text'::regtype,
           'varchar'::regtype) and (select c.collisdeterministic from pg_collation c where c.oid = a.attcollation)
             as is_text
    into place
    from pg_attribute a
   where a.attrelid = synced.relation and a.attnum > 0 and not a.attisdropped
     and (a.attname = synced.space_column or a.attnum = synced.space_column_number)
   order by a.attname = synced.space_column desc limit 1;
  if place.name is null then
    -- Without the column no row is in any space.
    return 'false';
  elsif place.is_text then
    return format('t.%I = any (%s)', place.name, given);
  end if;
  return format('t.%1$I = any (%2$L::text[]::%3$s[]) and to_jsonb(t.%1$I) #>> ''{}'' = any (%4$s)', place.name,
    array(select s from unnest(spaces) s where perch.is_of_type(s, place.type)), place.type, given);
end
$$;

comment on function perch.shape_space(perch.synced_relations, text[], boolean, text) is
  'Private. The condition that a row t of a synced table is in one of the spaces, of which given is the text. careful: rows for which the expression of the space fails are in none.';
