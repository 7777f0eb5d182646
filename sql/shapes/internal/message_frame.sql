create or replace function perch.message_frame(relation text[], keys text[], columns text[], headers text)
returns jsonb
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
  select json_build_object(
    'opening', '{"key":' || left(to_json(format('"%s"."%s"', replace(replace(relation[1], '/', '//'), '.', '..'),
      replace(replace(relation[2], '/', '//'), '.', '..')))::text, -1),
    'keys', (select json_agg(array_position(columns, k.name) - 1 order by k.nth)
      from unnest(keys) with ordinality k (name, nth)),
    'names', (select json_agg(to_json(c.name)::text order by c.nth)
      from unnest(columns) with ordinality c (name, nth)),
    'ending', ',"headers":{"operation":"insert",' || headers || '}}')::jsonb
$$;

comment on function perch.message_frame(text[], text[], text[], text) is
  'Private. What of a message that a row is there is the same for all rows of a table (relation: its schema and name), as JSON text: opening, up to the first part of the key; keys: which of the columns those are; names of the columns; ending, behind the values.';
