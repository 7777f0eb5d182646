create or replace function perch.row_key(relation oid, record_id text)
returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  keys constant text[] := perch.key_columns(relation);
  parts jsonb;
begin
  if record_id is null then
    return null;
  end if;
  if cardinality(keys) = 1 then
    return jsonb_build_object(keys[1], record_id);
  end if;
  parts := record_id;
  if jsonb_typeof(parts) <> 'array' or jsonb_array_length(parts) <> cardinality(keys) then
    return null;
  end if;
  return (select jsonb_object_agg(k.name, parts -> (k.nth::integer - 1)) from unnest(keys) with ordinality k (name,
    nth));
exception when data_exception then
  return null;
end
$$;

comment on function perch.row_key(oid, text) is
  'Private. The primary key that a record_id names, as an object by column; null where it is none of this table.';
