-- Locks the rows in the order of their keys, so that two pushes of the same rows wait for each other and do not meet.
--
-- To lock a row the table's policies for UPDATE must let the user, whom they bind; to read it, perch_owner needs none.
-- So a row that is there and cannot be locked is one that this user may not write. A deletion locks by itself, since
-- its policies are its own.
--
-- A row may be hundreds of times as long as it is stored. So only the first ones are given, as many as are together
-- 32 MB when they are unpacked, one at least; all are locked.
create or replace function perch.find_rows(
  relation perch.synced_relations, keys text[], key_rows jsonb[], to_lock boolean, is_new boolean,
  out rows_there jsonb[], out places tid[], out parts oid[], out locked boolean[]
)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  max_bytes constant bigint := 33554432;
  same constant text := (
    select string_agg(format('x.%1$I operator(pg_catalog.=) k.%1$I', c), ' and ') from unnest(keys) c);
  key_order constant text := (select string_agg(format('k.%I', c), ', ') from unnest(keys) c);
  given constant text := format(
    'select r.*, g.nth as perch_nth from pg_catalog.unnest($1) with ordinality g (key, nth)
      cross join lateral pg_catalog.jsonb_to_record(g.key) as r (%s) offset 0',
    perch.typed_columns(relation.relation, keys));
  own_path constant text := current_setting('search_path');
  statement text;
begin
  -- As a rule what is inserted is not there.
  if is_new then
    execute format(
      'select array_agg(f.row order by f.nth) filter (where f.bytes <= $2 or f.nth = 1)
         from (select l.row, k.perch_nth as nth,
                      sum(coalesce(pg_column_size(l.row), 0)) over (order by k.perch_nth) as bytes
                 from (%1$s) k
                 left join lateral (select to_jsonb(x.*) as row from %2$s x
                   where %3$s limit 1) l on true) f', given, relation.relation, same)
      into rows_there using key_rows, max_bytes;
    if array_remove(rows_there, null) = '{}' then
      return;
    end if;
  end if;
  if to_lock then
    statement := format(
      'select pg_catalog.array_agg(f.at order by f.nth), pg_catalog.array_agg(f.part order by f.nth)
         from (select k.perch_nth as nth, l.at, l.part from (select * from (%1$s) k order by %3$s) k
                 left join lateral (select x.ctid as at, x.tableoid as part from %2$s x
                   where %4$s limit 1 for update) l on true) f',
      given, relation.relation, key_order, same);
    perform set_config('search_path', perch.apps_path(array[relation.relation::oid]), true);
    execute statement into places, parts using key_rows;
    perform set_config('search_path', own_path, true);
  end if;
  -- In a statement of its own, which sees what whoever was waited for has written.
  execute format(
    'select array_agg(f.row order by f.nth) filter (where f.bytes <= $4 or f.nth = 1),
            array_agg(f.locked order by f.nth)
       from (select l.row, k.perch_nth as nth, l.at = ($2)[k.perch_nth] and l.part = ($3)[k.perch_nth] as locked,
                    sum(coalesce(pg_column_size(l.row), 0)) over (order by k.perch_nth) as bytes
               from (%1$s) k
               left join lateral (select to_jsonb(x.*) as row, x.ctid as at, x.tableoid as part from %2$s x
                 where %3$s limit 1) l on true) f',
    given, relation.relation, same) into rows_there, locked using key_rows, places, parts, max_bytes;
end
$$;

comment on function perch.find_rows(perch.synced_relations, text[], jsonb[], boolean, boolean) is
  'Private. The rows of a synced table with these keys, where they stand, and which of them are locked now; null where there is none. rows_there are fewer when all together are too long.';
