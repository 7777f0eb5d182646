-- Some rows of a shape as they are now, with the snapshot that they were read in: whoever follows the shape's
-- changes knows by it which of them these rows show already. One statement, so one snapshot.
create or replace function perch.shape_subset(
  schema_name text, table_name text, filter jsonb default null, columns text[] default null, subset jsonb default null,
  "order" jsonb default null, max_count bigint default null, skip bigint default 0, mark integer default 0,
  max_bytes integer default 32000000,
  out messages text, out snapshot pg_snapshot, out waiting bigint
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO, MDY'
set intervalstyle = 'iso_8601'
set bytea_output = 'hex'
set extra_float_digits = 1
as $$
declare
  me constant text := perch.require_user();
  synced constant perch.synced_relations := perch.open_relation(shape_subset.schema_name, shape_subset.table_name);
  spaces constant text[] := perch.shape_spaces(synced);
  seen constant jsonb := perch.shape_columns(synced, spaces);
  texts constant record := perch.shape_texts(synced, spaces, shape_subset.filter, shape_subset.columns, null);
  narrowed constant text := perch.filter_text(shape_subset.subset, seen);
  sorted constant text := case when shape_subset."order" is not null then perch.order_text(shape_subset."order", seen)
    end;
  is_safe constant boolean := texts.is_safe and perch.never_fails(shape_subset.subset, seen);
  found record;
  entries text[] := '{}';
  bytes bigint := 0;
begin
  snapshot := pg_current_snapshot();
  waiting := (select count(*) from perch.captured_changes);
  for found in execute format(
    'select concat(''{"key":'', to_json(%s), '',"value":'', row_to_json(perch_value.*), %L) as message
       from (select t.* from %s t where %s %s) perch_row
      cross join lateral (select %s) perch_value
      where %s
      order by %s
      limit $2 offset $3',
    texts.key, format(',"headers":{"operation":"insert","snapshot_mark":%s,%s}}', mark, texts.headers),
    synced.relation, perch.shape_space(synced, spaces, synced.space_expression is not null),
    case when not is_safe then 'offset 0' end, texts.values,
    -- One after the other, unless neither fails: then an index may serve both.
    format(case when is_safe then '%s and %s' else 'case when %s then %s end' end, texts.condition, narrowed),
    concat_ws(', ', sorted, texts.order_by))
    using spaces, shape_subset.max_count, shape_subset.skip
  loop
    entries := entries || found.message;
    bytes := bytes + octet_length(found.message) + 1;
    if bytes > max_bytes then
      perform perch.fail('PE413', format('the subset is over %s bytes', max_bytes),
        jsonb_build_object('argument', 'subset', 'limit', 'subset_bytes', 'max', max_bytes),
        'Ask for less, with a limit.');
    end if;
  end loop;
  messages := array_to_string(entries, ',');
end
$$;
grant execute on function perch.shape_subset to perch_app;

comment on function perch.shape_subset(text, text, jsonb, text[], jsonb, jsonb, bigint, bigint, integer, integer) is
  'Rows of a shape as they are now, for whoever serves shapes: those of which a further filter (subset) is true, in an order ([{"column", "descending", "nulls"}]), max_count of them behind skip. messages: as insertions of the shape protocol, marked with mark; snapshot: in which they were read; waiting: how many changes had no number yet. Errors: PE401, PE404 when no such table is synced, PE413, PE422. Example: select * from perch.shape_subset(schema_name => ''public'', table_name => ''orders'', max_count => 10);';
