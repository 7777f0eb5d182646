-- The filter speaks last. It may fail, and by that tell something of a row that is not to be seen.
create or replace function perch.filter_in_sight(synced perch.synced_relations, condition text)
returns text
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
  select case when synced.row_filter is null then condition
    else format('case when (perch.rows_in_sight((
      select row(r.*)::perch.synced_relations from perch.synced_relations r where r.relation = %s),
      array[to_jsonb(perch_row.*)]))[1] then %s end', synced.relation::oid, condition) end
$$;

comment on function perch.filter_in_sight(perch.synced_relations, text) is
  'Private. A condition over a row perch_row of a synced table, narrowed to the rows that the rules of the table show.';
