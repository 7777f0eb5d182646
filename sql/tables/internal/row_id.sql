-- The columns of the key are asked of the catalog where the row does not have them: then one was renamed, or the key is
-- another, since the triggers were made.
create or replace function perch.row_id(relation oid, "row" jsonb, keys text[])
returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  if "row" is null then
    return null;
  end if;
  if not "row" ?& keys then
    keys := perch.key_columns(relation);
  end if;
  if cardinality(keys) = 1 then
    return "row" ->> keys[1];
  end if;
  return (select jsonb_agg("row" -> k.name order by k.nth)::text from unnest(keys) with ordinality k (name, nth));
end
$$;

comment on function perch.row_id(oid, jsonb, text[]) is
  'Private. The record_id of a row: its primary key as text; of several columns, a JSON array. Null for no row.';
