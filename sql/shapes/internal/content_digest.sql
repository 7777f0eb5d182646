create or replace function perch.content_digest(synced perch.synced_relations)
returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select case when synced.row_filter is null and synced.column_roles = '{}' then
    md5(concat_ws(E'\n', (select l.epoch from perch.log_epoch l), synced.relation::oid, synced.synced_at,
      perch.shape_columns(synced, '{}'))) end
$$;

comment on function perch.content_digest(perch.synced_relations) is
  'Private. What a synced table without rules is for all who read it, whatever their spaces are: the same for as long as its rows and columns mean the same. Null with rules.';
