-- $1: behind this position; $2: up to this one; $3, $4: app and table; $5: spaces. Entries of other tables and
-- spaces come with their position and transaction alone. An insertion without an image has the whole row as its
-- data.
create or replace function perch.shape_changes_query(
  synced perch.synced_relations, "values" text, key text, condition text, keys text[], whole boolean
)
returns text
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
  select format(
    $f$select c.position, c.txid, e.operation, e.key, e.value, e.old_value
         from (select l.position, l.txid, l.app_id, l.table_name, l.space_id, l.seq, l.data
                 from perch.sync_changes l where l.position > $1 and l.position <= $2) c
         left join lateral (
           select m.operation, coalesce(a.key, b.key) as key,
                  case when m.operation = 'insert' or %6$L then coalesce(a.value, b.value)::text
                       else (select coalesce(json_object_agg(x.key, x.value), '{}')::text
                               from jsonb_each(coalesce(a.value, b.value)::jsonb) x
                              where x.key = any (%5$L::text[])
                                 or m.operation = 'update' and x.value is distinct from b.value::jsonb -> x.key)
                       end as value,
                  case when m.operation = 'update' and %6$L then (
                    select coalesce(json_object_agg(x.key, x.value), '{}')::text from jsonb_each(b.value::jsonb) x
                     where x.value is distinct from a.value::jsonb -> x.key) end as old_value
             from (select 1) one
             left join perch.row_images i on i.space_id = c.space_id and i.seq = c.seq
             left join lateral (
               select %3$s as key, row_to_json(perch_value) as value
                 from jsonb_populate_record(null::%1$s, i.old_row) perch_row
                cross join lateral (select %2$s) perch_value
                where i.old_row is not null and %4$s) b on true
             left join lateral (
               select %3$s as key, row_to_json(perch_value) as value
                 from jsonb_populate_record(null::%1$s,
                        coalesce(i.new_row, case when i.space_id is null then c.data end)) perch_row
                cross join lateral (select %2$s) perch_value
                where (i.new_row is not null or i.space_id is null) and %4$s) a on true
            cross join lateral (
               select case when a.key is not null and b.key is not null then 'update'
                           when a.key is not null then 'insert' when b.key is not null then 'delete' end) m (operation)
            where m.operation is not null and c.app_id = $3 and c.table_name = $4 and c.space_id = any ($5)) e on true
        order by c.position$f$,
    synced.relation, "values", key, condition, keys, whole)
$$;

comment on function perch.shape_changes_query(perch.synced_relations, text, text, text, text[], boolean) is
  'Private. The query of perch.shape_changes: the entries of the log behind a position, with what each did to the shape.';
