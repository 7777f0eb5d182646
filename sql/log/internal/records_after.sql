-- Where tables are named, one after the other, and only as many of them as it takes: the join is one of nested loops,
-- which reads a table when those before it have not filled the page. With them as a condition on the primary key
-- Postgres before 17 would read all that lies between, or sort all that is in them.
create or replace function perch.records_after(
  space_id text, app_id text, tables text[], after_table text, after_id text, max_count integer
)
returns setof perch.stored_records
language plpgsql stable
set search_path = pg_catalog, pg_temp
rows 1000
as $$
begin
  if tables is null then
    return query
      select r.* from perch.stored_records r
       where r.space_id = records_after.space_id and r.app_id = records_after.app_id and not r.deleted
         and (r.table_name, r.record_id) > (after_table, after_id)
       order by r.table_name, r.record_id
       limit max_count;
    return;
  end if;
  return query
    select r.*
      from (select distinct u collate "C" as name from unnest(tables) u where u collate "C" >= after_table
             order by name) t
     cross join lateral (
       select x.* from perch.stored_records x
        where x.space_id = records_after.space_id and x.app_id = records_after.app_id and x.table_name = t.name
          and not x.deleted and x.record_id > case when t.name = after_table then after_id else '' end collate "C"
        order by x.record_id
        limit max_count) r
     limit max_count;
end
$$;

comment on function perch.records_after(text, text, text[], text, text, integer) is
  'Private. The live records of a space behind one of them, at most max_count, by table and id. tables: of these alone; null: of all.';
