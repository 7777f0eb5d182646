-- What the queries of a shape are put together from. Of the two aliases perch_row is a row of the table, or an image of
-- one that was read back as its type; perch_value has its columns as text, as Postgres writes them. fields are these
-- texts as one text, of an array: each is quoted there as JSON quotes it, but for control characters, so whoever makes
-- messages of them (frame has what else is in one) copies bytes, and looks at no value.
create or replace function perch.shape_texts(
  synced perch.synced_relations, spaces text[], filter jsonb, columns text[], moment jsonb,
  out "values" text, out key text, out condition text, out order_by text, out keys text[], out relation text[],
  out headers text, out is_safe boolean, out fields text, out frame jsonb
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  all_columns constant jsonb := perch.shape_columns(synced, spaces);
  missing text;
  listed text[];
  -- Each column as text. Of a key JSON has no negative zero, so the log has none, and there is none anywhere.
  columns_as_text jsonb;
begin
  keys := perch.key_columns(synced.relation);
  select n into missing from unnest(columns) n where not all_columns ? n limit 1;
  if missing is not null then
    perform perch.fail('PE422', format('the table has no column %I that may be synced', missing),
      jsonb_build_object('argument', 'columns', 'column', missing),
      'Name columns that the table has and its rules let you see.');
  end if;
  select k into missing from unnest(keys) k where columns is not null and k <> all (columns) limit 1;
  if missing is not null then
    perform perch.fail('PE422', format('columns lacks %I, which is part of the primary key', missing),
      jsonb_build_object('argument', 'columns', 'column', missing),
      'Name it, too.');
  end if;
  columns_as_text := (
    select json_object_agg(c.key, case
             when c.key = any (keys) and c.value ->> 'plain' in ('float4', 'float8')
               then format('(perch_row.%I + ''0''::%s)::text', c.key, c.value ->> 'plain')
             else format('perch_row.%I::text', c.key) end)::jsonb
      from jsonb_each(all_columns) c);
  relation := (select array[n.nspname, c.relname]::text[] from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.oid = synced.relation);
  select string_agg(format('%s as %I', columns_as_text ->> c.key, c.key), ', ' order by (c.value -> 'number')::integer)
    into "values"
    from jsonb_each(all_columns) c where columns is null or c.key = any (columns);
  select format('%L', format('"%s"."%s"', replace(replace(relation[1], '/', '//'), '.', '..'),
           replace(replace(relation[2], '/', '//'), '.', '..')))
         || string_agg(format($f$ || '/"' || replace(%s, '/', '//') || '"'$f$, columns_as_text ->> k.name), ''
              order by k.nth),
         string_agg(format('perch_row.%I', k.name), ', ' order by k.nth)
    into key, order_by
    from unnest(keys) with ordinality k (name, nth);
  condition := perch.filter_text(filter, all_columns, moment);
  condition := perch.filter_in_sight(synced, condition);
  is_safe := synced.row_filter is null and perch.never_fails(filter, all_columns);
  headers := '"relation":' || to_json(relation)::text;
  listed := array(
    select c.key from jsonb_each(all_columns) c where columns is null or c.key = any (columns)
     order by (c.value -> 'number')::integer);
  fields := (select format('array[%s]::text', string_agg(columns_as_text ->> c.name, ', ' order by c.nth))
    from unnest(listed) with ordinality c (name, nth));
  frame := perch.message_frame(relation, keys, listed, headers);
end
$$;

comment on function perch.shape_texts(perch.synced_relations, text[], jsonb, text[], jsonb) is
  'Private. The pieces of SQL that the queries of a shape are made of; is_safe: the condition never fails, so that it need not be evaluated last. moment: as for perch.filter_text. PE422 for columns and filters that are none.';
