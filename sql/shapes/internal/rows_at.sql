-- A table as it was: what is there now without the rows that have changed since, and what these rows were
-- (perch.shape_images). What has changed since is read here and now, for the text. So it holds for the snapshot of
-- whoever calls, and only so much may have changed as a text bears, in rows and in bytes as they are unpacked: whoever
-- is further behind begins anew.
create or replace function perch.rows_at(synced perch.synced_relations, spaces text[], moment jsonb)
returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  keys constant text[] := perch.key_columns(synced.relation);
  max_changed constant integer := 20000;
  max_bytes constant bigint := 33554432;
  now_there text;
  changed jsonb[] := '{}';
  were jsonb[] := '{}';
  bytes bigint := 0;
  image record;
begin
  now_there := format('select t.* from %s t where %s', synced.relation,
    perch.shape_space(synced, spaces, synced.space_expression is not null, format('%L::text[]', spaces)));
  if moment -> 'position' is null then
    return now_there;
  end if;
  for image in execute format(
    'select perch.listed_columns(i.any_row, %L) as key, i.old_row from (%s) i', keys, perch.shape_images(synced))
    using spaces, coalesce((moment ->> 'snapshot')::pg_snapshot, '3:3:'), (moment ->> 'position')::bigint,
          synced.app_id, synced.table_name
  loop
    changed := array_append(changed, image.key);
    bytes := bytes + coalesce(pg_column_size('{}'::jsonb || image.old_row), 0);
    if cardinality(changed) > max_changed or bytes > max_bytes then
      perform perch.fail('PE410', format('more of %s has changed since than can be looked at again',
        synced.table_name), jsonb_build_object('position', moment -> 'position'),
        'Fetch the shape from its beginning: offset -1, without a handle.');
    end if;
    -- Appended in place; two arrays put together would be copied for each row.
    if image.old_row is not null then
      were := array_append(were, image.old_row);
    end if;
  end loop;
  if changed = '{}' then
    return now_there;
  end if;
  perform perch.require_readable(synced.relation, format('select unnest(%L::jsonb[])', were), 'perch_row.*');
  return format(
    '%1$s and (%2$s) not in (
       select %3$s from unnest(%4$L::jsonb[]) i (image)
        cross join lateral jsonb_populate_record(null::%5$s, i.image) r)
     union all
     select r.* from unnest(%6$L::jsonb[]) i (image)
      cross join lateral jsonb_populate_record(null::%5$s, i.image) r',
    now_there, (select string_agg(format('t.%I', k), ', ') from unnest(keys) k),
    (select string_agg(format('r.%I', k), ', ') from unnest(keys) k), changed, synced.relation, were);
end
$$;

comment on function perch.rows_at(perch.synced_relations, text[], jsonb) is
  'Private. The query for the rows of a synced table in some spaces at a moment: {"position", "snapshot"}, what has a position up to this one or is shown by the snapshot; null: now. PE410 when too much has changed since.';
