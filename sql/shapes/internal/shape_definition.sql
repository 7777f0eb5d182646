-- Rows under other options, of other columns, in other spaces, or of another history of the log are another shape.
-- So are those of another user where a rule for rows asks who reads: the user's spaces, the personal one among them,
-- say who that is.
create or replace function perch.shape_definition(synced perch.synced_relations, spaces text[], columns jsonb)
returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select md5(concat_ws(E'\n', (select l.epoch from perch.log_epoch l), synced.relation::oid, synced.synced_at,
    columns, case when synced.row_filter is null then spaces
      else array(select s from unnest(perch.current_space_ids()) s order by s) end))
$$;

comment on function perch.shape_definition(perch.synced_relations, text[], jsonb) is
  'Private. What a shape of a synced table is, in these spaces and of these columns: the same for as long as rows and rights mean the same.';
