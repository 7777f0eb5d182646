create or replace function perch.row_under_key(relation oid, "row" text)
returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select format(
    'select to_jsonb(t.*) as row from %s t where (%s) = (select %s from jsonb_to_record(%s) k (%s)) limit 1',
    relation::regclass, string_agg(format('t.%I', k.name), ', '), string_agg(format('k.%I', k.name), ', '),
    row_under_key."row", perch.typed_columns(relation, array_agg(k.name)))
    from unnest(perch.key_columns(relation)) k (name)
$$;

comment on function perch.row_under_key(oid, text) is
  'Private. The query for what a table has under the key of a row that it had: row, as jsonb. row: an expression, that row as jsonb.';
