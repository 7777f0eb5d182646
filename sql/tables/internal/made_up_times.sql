-- All of a push at once; of most types it is seen at a glance that they are none of times, and of most times that they
-- name no zone.
create or replace function perch.made_up_times(changes perch.change[], app_id text)
returns table (nth integer, "column" name)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with timed as materialized (
    select r.table_name, a.attname, a.attname = any (perch.key_columns(r.relation)) as is_key
      from perch.synced_relations r
      join pg_attribute a on a.attrelid = r.relation and a.attnum > 0 and not a.attisdropped
      join pg_type t on t.oid = a.atttypid
     where r.app_id = made_up_times.app_id and r.table_name in (select c.table_name from unnest(changes) c)
       and case when t.typtype = 'b' and t.typelem = 0 then t.typcategory = 'D' else perch.reads_times(t.oid) end
  )
  select c.ordinality::integer, min(t.attname::text)::name
    from unnest(changes) with ordinality c
    join timed t on t.table_name = c.table_name
   cross join lateral (
     values (c.data ->> t.attname), (case when t.is_key then c.record_id end)) v (value)
   where v.value !~ '^[0-9]+(-[0-9]+)*([T ][0-9:.]+)?(Z| ?[-+][0-9:]+)?$' and perch.has_made_up_zone(v.value)
   group by c.ordinality
$$;

comment on function perch.made_up_times(perch.change[], text) is
  'Private. Which of these changes of synced rows write a time of a zone that was made up (perch.has_made_up_zone), and to which column.';
