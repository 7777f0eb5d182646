-- Of the row before and after, the filter says whether the user saw it and sees it. Both are asked at once, for all
-- entries of a table together; more than some megabytes of rows are asked about in parts. A part is made, and its
-- memory given back, before the next (enable_hashagg: which would make all of them first), and is measured as it is
-- when it is unpacked ('{}' || row): as it is stored, a row may be a hundred times as short.
--
-- An update of hidden columns alone is nothing, as if it had not been; but for its author, who waits for it.
--
-- Of the columns those are given that the table has now: of one that was dropped nobody knows any more for whom it is.
--
-- Where the filter looks beyond the row, the user may not have been given a row that was in sight before: so an update
-- has all visible columns there.
create or replace function perch.changes_in_sight(app_id text, space_ids text[], seqs bigint[])
returns table (space_id text, seq bigint, op text, data jsonb, size integer)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_hashagg = off
as $$
declare
  me constant text := perch.current_user_id();
  batch record;
  synced perch.synced_relations;
  sees boolean[];
  hidden jsonb;
  columns name[];
begin
  for batch in
    select p.table_name, array_agg(p.space_id order by p.nth) as space_ids, array_agg(p.seq order by p.nth) as seqs,
           array_agg(p.op order by p.nth) as ops, array_agg(p.user_id order by p.nth) as user_ids,
           array_agg(p.old_row order by p.nth) as old_rows, array_agg(p.new_row order by p.nth) as new_rows
      from (
        select e.*, sum(coalesce(pg_column_size('{}'::jsonb || e.old_row), 0)
                   + coalesce(pg_column_size('{}'::jsonb || e.new_row), 0))
                 over (partition by e.table_name order by e.nth) / 4194304 as part
          from (
            select a.nth, l.space_id, l.seq, l.table_name, l.op, l.user_id, i.old_row,
                   case when l.op = 'delete' then null when i.seq is null then l.data else i.new_row end as new_row
              from unnest(changes_in_sight.space_ids, changes_in_sight.seqs) with ordinality a (space_id, seq, nth)
             cross join lateral (
               select x.* from perch.sync_changes x where x.space_id = a.space_id and x.seq = a.seq limit 1) l
              left join perch.closed_logs c on c.app_id = l.app_id and c.table_name = l.table_name
              left join lateral (
                select r.* from perch.row_images r where r.space_id = a.space_id and r.seq = a.seq limit 1) i on true
             where (l.position <= c.position) is not true) e) p
     group by p.table_name, p.part
  loop
    select r.* into synced from perch.synced_relations r
     where r.app_id = changes_in_sight.app_id and r.table_name = batch.table_name;
    if not found then
      -- The log of another kind of table that has the name now.
      return query
        select l.space_id, l.seq, l.op, l.data, l.size
          from unnest(batch.space_ids, batch.seqs) e (space_id, seq)
         cross join lateral (
           select x.* from perch.sync_changes x where x.space_id = e.space_id and x.seq = e.seq limit 1) l;
      continue;
    end if;
    sees := perch.rows_in_sight(synced, batch.old_rows || batch.new_rows);
    select json_object_agg(s.space_id, perch.columns_hidden_from(synced, s.role))::jsonb into hidden
      from (select array(select distinct u collate "C" from unnest(batch.space_ids) u)) d (space_ids)
     cross join lateral unnest(d.space_ids, perch.roles_in(d.space_ids)) s (space_id, role)
     where synced.column_roles <> '{}';
    columns := array(
      select a.attname from pg_attribute a
       where a.attrelid = synced.relation and a.attnum > 0 and not a.attisdropped
         and (synced.columns is null or a.attname = any (synced.columns)));
    return query
      select e.space_id, e.seq, o.op, o.data,
             nullif(greatest(perch.text_size(o.data), 2000), 2000)
        from unnest(batch.space_ids, batch.seqs, batch.ops, batch.user_ids, batch.old_rows, batch.new_rows,
               sees[:cardinality(batch.seqs)], sees[cardinality(batch.seqs) + 1:])
               e (space_id, seq, op, user_id, old_row, new_row, saw, sees)
       cross join lateral (
         select case when e.sees and (e.op = 'insert' or not e.saw) then 'insert' when e.sees then 'update'
                     when e.saw and e.op <> 'insert' then 'delete' end,
                case when hidden is null then '{}'
                     else array(select jsonb_array_elements_text(hidden -> e.space_id)) end)
               s (op, hidden)
       cross join lateral (
         select case when s.op = 'update' then perch.changed_columns(e.old_row, e.new_row, columns) end
         offset 0) c (changed)
       cross join lateral (
         select s.op,
                case when s.op = 'insert' or s.op = 'update' and synced.reads_more then
                       perch.listed_columns(e.new_row, columns) - s.hidden
                     when s.op = 'update' then c.changed - s.hidden end
         offset 0) o (op, data)
       where o.op is not null
         and (c.changed <> '{}' and c.changed - s.hidden = '{}' and e.user_id is distinct from me) is not true;
  end loop;
end
$$;

comment on function perch.changes_in_sight(text, text[], bigint[]) is
  'Private. What the current user sees of these entries of tables with rules: nothing of one of which they may not know, a row that comes into sight as an insertion, one that leaves as a deletion without data; of the columns those that their role in the space shows. size: as in perch.sync_changes.';
