-- $1: behind this position; $2: up to this one; $3, $4: app and table; $5: spaces. Entries of other tables and
-- spaces come with their position and transaction alone: what they were is not even read as rows of this table. An
-- insertion without an image has the whole row as its data.
-- Where what a rule says may change while the row does not, updates have whole rows: the reader may not have it yet.
create or replace function perch.shape_changes_query(
  synced perch.synced_relations, "values" text, key text, condition text, keys text[], whole boolean
)
returns text
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
  select format(
    $f$select c.position, c.txid, e.operation, e.key, e.value, e.old_value
         from (
           select l.position, l.txid, i.old_row,
                  coalesce(i.new_row, case when i.space_id is null then o.data end) as new_row
             from perch.sync_changes l
            cross join lateral (
              select l.app_id = $3 and l.table_name = $4 and l.space_id = any ($5)) w (is_ours)
            cross join lateral (select case when w.is_ours then l.data end as data) o
             left join perch.row_images i on w.is_ours and i.space_id = l.space_id and i.seq = l.seq
            where l.position > $1 and l.position <= $2
           offset 0) c
         left join lateral (
           select m.operation, coalesce(a.key, b.key) as key,
                  case when m.operation = 'insert' or %6$L or m.operation = 'update' and %7$L
                         then coalesce(a.value, b.value)::text
                       else (select coalesce(json_object_agg(x.key, x.value), '{}')::text
                               from jsonb_each(coalesce(a.value, b.value)::jsonb) x
                              where x.key = any (%5$L::text[])
                                 or m.operation = 'update' and x.value is distinct from b.value::jsonb -> x.key)
                       end as value,
                  case when m.operation = 'update' and %6$L then (
                    select coalesce(json_object_agg(x.key, x.value), '{}')::text from jsonb_each(b.value::jsonb) x
                     where x.value is distinct from a.value::jsonb -> x.key) end as old_value
             from (select 1) one
             left join lateral (
               select %3$s as key, row_to_json(perch_value) as value
                 from jsonb_populate_record(null::%1$s, c.old_row) perch_row
                cross join lateral (select %2$s) perch_value
                where case when c.old_row is not null then %4$s end) b on true
             left join lateral (
               select %3$s as key, row_to_json(perch_value) as value
                 from jsonb_populate_record(null::%1$s, c.new_row) perch_row
                cross join lateral (select %2$s) perch_value
                where case when c.new_row is not null then %4$s end) a on true
            cross join lateral (
               select case when a.key is not null and b.key is not null then 'update'
                           when a.key is not null then 'insert' when b.key is not null then 'delete' end) m (operation)
            where m.operation is not null) e on true
        order by c.position$f$,
    synced.relation, "values", key, condition, keys, whole, synced.reads_more)
$$;

comment on function perch.shape_changes_query(perch.synced_relations, text, text, text, text[], boolean) is
  'Private. The query of perch.shape_changes: the entries of the log behind a position, with what each did to the shape.';
