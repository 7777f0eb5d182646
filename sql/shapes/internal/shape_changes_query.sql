-- What entries did to a shape: the filter is evaluated on the row before and on the row behind it. An entry has a
-- position, a transaction, old_row and new_row: images (null: there was no such row).
-- image_bytes: how long both are when they are unpacked ('{}' || row).
-- Where what a rule says may change while the row does not, updates have whole rows: the reader may not have it yet.
create or replace function perch.shape_changes_query(
  synced perch.synced_relations, entries text, "values" text, key text, condition_before text, condition_after text,
  keys text[], whole boolean
)
returns text
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
  select format(
    $f$select c.position, c.txid, e.operation, e.key, e.value, e.old_value,
              coalesce(pg_column_size('{}'::jsonb || c.old_row), 0)
                + coalesce(pg_column_size('{}'::jsonb || c.new_row), 0) as image_bytes
         from (%9$s) c
         left join lateral (
           select m.operation, coalesce(a.key, b.key) as key,
                  case when m.operation = 'insert' or %7$L or m.operation = 'update' and %8$L
                         then coalesce(a.value, b.value)::text
                       else (select coalesce(json_object_agg(x.key, x.value), '{}')::text
                               from jsonb_each(coalesce(a.value, b.value)::jsonb) x
                              where x.key = any (%6$L::text[])
                                 or m.operation = 'update' and x.value is distinct from b.value::jsonb -> x.key)
                       end as value,
                  case when m.operation = 'update' and %7$L then (
                    select coalesce(json_object_agg(x.key, x.value), '{}')::text from jsonb_each(b.value::jsonb) x
                     where x.value is distinct from a.value::jsonb -> x.key) end as old_value
             from (select 1) one
             left join lateral (
               select %3$s as key, row_to_json(perch_value.*) as value
                 from jsonb_populate_record(null::%1$s, c.old_row) perch_row
                cross join lateral (select %2$s) perch_value
                where case when c.old_row is not null then %4$s end) b on true
             left join lateral (
               select %3$s as key, row_to_json(perch_value.*) as value
                 from jsonb_populate_record(null::%1$s, c.new_row) perch_row
                cross join lateral (select %2$s) perch_value
                where case when c.new_row is not null then %5$s end) a on true
            cross join lateral (
               select case when a.key is not null and b.key is not null then 'update'
                           when a.key is not null then 'insert' when b.key is not null then 'delete' end) m (operation)
            where m.operation is not null) e on true
        order by c.position$f$,
    synced.relation, "values", key, condition_before, condition_after, keys, whole, synced.reads_more, entries)
$$;

comment on function perch.shape_changes_query(
  perch.synced_relations, text, text, text, text, text, text[], boolean) is
  'Private. The query for what entries of the log (a query) did to a shape.';
