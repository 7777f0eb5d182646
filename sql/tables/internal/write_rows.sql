-- Lock order: see perch.apply_rows, which has the rows locked that are there, but those to be deleted.
--
-- Written as perch_owner, who is neither the owner of the table nor exempt from its row level security: so the
-- policies of the app bind, with the user in the context, and a table that gave perch_owner no right is not written.
-- What is written is looked at again behind it: triggers and columns of the app may have made something else of it.
create or replace function perch.write_rows(
  relation perch.synced_relations, keys text[], space_id text, action text, columns text[], ids text[],
  rows jsonb[], places tid[], parts oid[]
)
returns integer[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  own_path constant text := current_setting('search_path');
  statement constant text := perch.writing_statement(relation, keys, action, columns);
  after_rows jsonb[];
  gone_rows jsonb[];
  done integer[];
begin
  perform set_config('search_path', perch.apps_path(array[relation.relation::oid]), true);
  execute statement into after_rows, gone_rows, done using rows, places, parts;
  perform set_config('search_path', own_path, true);

  if action = 'insert' then
    done := array(
      select g.nth from unnest(ids) with ordinality g (id, nth)
        join unnest(after_rows) m (row)
          on g.id = case when cardinality(keys) = 1 then m.row ->> keys[1]
            else perch.row_id(relation.relation, m.row, keys) end
       order by g.nth);
    if cardinality(done) < coalesce(cardinality(after_rows), 0) then
      perform perch.fail('PE422', format('table %s writes the id another way', relation.table_name),
        jsonb_build_object('argument', 'id', 'got', perch.row_id(relation.relation, after_rows[1], keys)),
        'Push it under the id that the table makes of the key: got, in DETAIL.');
    end if;
  -- It was not locked when it was looked at: somebody else may have moved it, or taken it out of sight.
  elsif action = 'delete' and exists (
    select from unnest(perch.space_of_rows(relation, coalesce(gone_rows, '{}')),
      perch.rows_in_sight(relation, coalesce(gone_rows, '{}'))) g (space, sees)
     where g.space is distinct from write_rows.space_id or not g.sees)
  then
    perform perch.fail('PE404', 'there is no such row in this space',
      jsonb_build_object('table', relation.table_name));
  end if;
  -- Where a trigger or a column moved it, the user must be allowed to write, too.
  if exists (
    select from unnest(perch.space_of_rows(relation, coalesce(after_rows, '{}'))) s
     where s is null or s <> all (perch.writable_space_ids()))
  then
    perform perch.fail('PE403', format('the row of %s would be in a space that this user may not write',
      relation.table_name),
      jsonb_build_object('table', relation.table_name),
      'Push it into a space that this user writes, or leave the columns that say the space as they are.');
  end if;
  -- As with row level security, what may not be seen may not be made: who writes can see what it became.
  if relation.row_filter is not null and false = any (
    perch.rows_in_sight(relation, coalesce(after_rows, '{}')))
  then
    perform perch.fail('PE403', format('the row of %s would be out of this user''s sight', relation.table_name),
      jsonb_build_object('table', relation.table_name),
      'The row_filter of the table decides: write values with which the row stays in sight.');
  end if;
  return coalesce(done, '{}');
end
$$;

comment on function perch.write_rows(perch.synced_relations, text[], text, text, text[], text[], jsonb[], tid[], oid[]) is
  'Private. Inserts, updates (those at these places) or deletes rows of a synced table, in its space; ids: as they were pushed; rows: their keys, and values of these columns. Returns which were written, by their place in the lists; triggers and policies may keep others as they are. Errors: PE403, PE404, PE422, what the rules of the app refuse.';
