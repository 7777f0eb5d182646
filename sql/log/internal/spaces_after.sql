-- Spaces that have a log, and those of rows of synced tables that nothing was logged of yet. A space that comes into
-- being meanwhile has a log behind the cursor of the snapshot. Each table is read as a whole, but of each row nothing
-- but what says the space.
create or replace function perch.spaces_after(app_ids text[], after text, max_count integer)
returns text[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  found text[] := array(
    select h.space_id from perch.space_heads h where h.space_id > after order by h.space_id limit max_count);
  synced perch.synced_relations;
  more text[];
  place record;
  told text;
  search constant text := 'select array(select distinct x.space from (select %s collate "C" as space from %s t) x
    where x.space > $1 order by 1 limit $2)';
begin
  for synced in
    select r.* from perch.synced_relations r join pg_class c on c.oid = r.relation where r.app_id = any (app_ids)
  loop
    if synced.space_id is not null then
      more := array[synced.space_id];
    else
      select a.attname as name, a.atttypid in ('text'::regtype, 'varchar'::regtype) as is_text into place
        from pg_attribute a
       where a.attrelid = synced.relation and a.attnum > 0 and not a.attisdropped
         and (a.attname = synced.space_column or a.attnum = synced.space_column_number)
       order by a.attname = synced.space_column desc limit 1;
      told := case when synced.space_expression is not null then format('(%s)::text', synced.space_expression)
                   when place.is_text then format('t.%I', place.name)
                   else format('to_jsonb(t.%I) #>> ''{}''', place.name) end;
      begin
        execute format(search, told, synced.relation) into more using after, max_count;
      exception when assert_failure or others then
        if synced.space_expression is null or perch.is_servers_code(sqlstate) then
          raise;
        end if;
        execute format(search, format('perch.try_space(%L, %s, to_jsonb(t.*))', synced.space_expression,
          synced.relation::oid), synced.relation) into more using after, max_count;
      end;
    end if;
    found := found || more;
  end loop;
  return array(
    select distinct s collate "C" from unnest(found) s where s > after collate "C" order by 1 limit max_count);
end
$$;

comment on function perch.spaces_after(text[], text, integer) is
  'Private. Spaces with anything of these apps, by id, behind one of them.';
