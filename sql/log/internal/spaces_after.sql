-- Spaces that have a log, and those of rows of synced tables that nothing was logged of yet. A space that comes into
-- being meanwhile has a log behind the cursor of the snapshot.
--
-- Where the column of the space is a text that an index begins with, the index is asked for one space after the other,
-- in its own order, which need not be that of ids ("C"); from where it may stop it stops.
create or replace function perch.spaces_after(app_ids text[], after text, max_count integer)
returns text[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  found text[] := array(
    select h.space_id from perch.space_heads h where h.space_id > after order by h.space_id limit max_count);
  synced perch.synced_relations;
  place record;
  more text[];
begin
  for synced in
    select r.* from perch.synced_relations r join pg_class c on c.oid = r.relation where r.app_id = any (app_ids)
  loop
    if synced.space_id is not null then
      more := array[synced.space_id];
    elsif synced.space_expression is not null then
      execute format(
        'select array(select distinct perch.try_space(%L, %s, to_jsonb(t.*)) from %s t)', synced.space_expression,
        synced.relation::oid, synced.relation) into more;
    else
      select a.attname as name, a.atttypid in ('text'::regtype, 'varchar'::regtype) and l.collisdeterministic
               and exists (
                 select from pg_index i join pg_class x on x.oid = i.indexrelid join pg_am m on m.oid = x.relam
                  where i.indrelid = a.attrelid and i.indkey[0] = a.attnum and i.indcollation[0] = a.attcollation
                    and i.indisvalid and i.indpred is null and m.amname = 'btree') as is_indexed,
             l.collname in ('C', 'POSIX') as is_ordered
        into place
        from pg_attribute a
        left join pg_collation l on l.oid = a.attcollation
       where a.attrelid = synced.relation and a.attnum > 0 and not a.attisdropped
         and (a.attname = synced.space_column or a.attnum = synced.space_column_number)
       order by a.attname = synced.space_column desc limit 1;
      if place.is_indexed then
        execute format(
          'with recursive spaces as (
             (select t.%1$I as space from %2$s t where t.%1$I is not null %3$s order by t.%1$I limit 1)
             union all
             select (select t.%1$I from %2$s t where t.%1$I > s.space order by t.%1$I limit 1)
               from spaces s where s.space is not null)
           select array(select s.space::text from spaces s where s.space is not null %4$s)',
          place.name, synced.relation, case when place.is_ordered then format('and t.%I > $1', place.name) end,
          case when place.is_ordered then 'limit $2' end) into more using after, max_count;
      else
        execute format('select array(select distinct to_jsonb(t.%I) #>> ''{}'' from %s t)', place.name,
          synced.relation) into more;
      end if;
    end if;
    found := found || more;
  end loop;
  return array(
    select distinct s collate "C" from unnest(found) s where s > after collate "C" order by 1 limit max_count);
end
$$;

comment on function perch.spaces_after(text[], text, integer) is
  'Private. Spaces with anything of these apps, by id, behind one of them.';
