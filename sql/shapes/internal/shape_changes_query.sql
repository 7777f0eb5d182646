-- What entries did to shapes: each filter is evaluated on the row before and on the row behind it. An entry has a
-- position, a transaction, old_row and new_row: images (null: there was no such row). It comes once for each operation
-- that it was to some of the filters, with their numbers (an insertion for those that the row came into, and so on);
-- once without, if it was nothing to any of them.
-- image_bytes: how long both are when they are unpacked ('{}' || row).
-- Where what a rule says may change while the row does not, updates have whole rows: the reader may not have it yet.
-- Else, where columns are hidden from some, an update of nothing that is shown is none: that it was, and when, would
-- tell of the hidden ones.
create or replace function perch.shape_changes_query(
  synced perch.synced_relations, entries text, "values" text, key text, matches_before text, matches_after text,
  keys text[], whole boolean
)
returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select format(
    $f$select c.position, c.txid, e.operation, e.filters, e.key, e.value, e.old_value,
              coalesce(pg_column_size('{}'::jsonb || c.old_row), 0)
                + coalesce(pg_column_size('{}'::jsonb || c.new_row), 0) as image_bytes
         from (%9$s) c
         left join lateral (
           select m.operation, m.filters, case m.operation when 'delete' then b.key else a.key end as key,
                  case when m.operation = 'insert' or m.operation = 'update' and (%7$L or %8$L) then a.value
                       when m.operation = 'delete' and %7$L then b.value
                       else (select coalesce(json_object_agg(x.key, x.value), '{}')
                               from jsonb_each(case m.operation when 'delete' then b.value else a.value end::jsonb) x
                              where x.key = any (%6$L::text[])
                                 or m.operation = 'update' and x.value is distinct from b.value::jsonb -> x.key)
                       end::text as value,
                  case when m.operation = 'update' and %7$L then (
                    select coalesce(json_object_agg(x.key, x.value), '{}')::text from jsonb_each(b.value::jsonb) x
                     where x.value is distinct from a.value::jsonb -> x.key) end as old_value
             from (select 1) one
             left join lateral (
               select %3$s as key, row_to_json(perch_value.*) as value, f.matches
                 from %1$s
                cross join lateral (select case when c.old_row is not null then %4$s end offset 0) f (matches)
                cross join lateral (select %2$s) perch_value
                where true = any (f.matches)) b on true
             left join lateral (
               select %3$s as key, row_to_json(perch_value.*) as value, f.matches
                 from %10$s
                cross join lateral (select case when c.new_row is not null then %5$s end offset 0) f (matches)
                cross join lateral (select %2$s) perch_value
                where true = any (f.matches)) a on true
            cross join lateral (
               select o.operation, array_agg(n.nth::integer) as filters
                 from unnest(b.matches, a.matches) with ordinality n (was, became, nth)
                cross join lateral (
                  select case when n.was and n.became then %11$s when n.became then 'insert'
                              when n.was then 'delete' end) o (operation)
                where o.operation is not null
                group by o.operation) m) e on true
        order by c.position$f$,
    perch.image_row(synced.relation, 'c.old_row', concat("values", key, matches_before)), "values", key, matches_before,
    matches_after, keys, whole, synced.reads_more, entries,
    perch.image_row(synced.relation, 'c.new_row', concat("values", key, matches_after)),
    case when synced.column_roles = '{}' or synced.reads_more then '''update'''
      else 'case when b.value::text is distinct from a.value::text then ''update'' end' end)
$$;

comment on function perch.shape_changes_query(
  perch.synced_relations, text, text, text, text, text, text[], boolean) is
  'Private. The query for what entries of the log (a query) did to shapes. matches_before, matches_after: text of a list of conditions, one for each filter, over the row before and behind an entry.';
