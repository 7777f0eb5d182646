create or replace function perch.add_long_value(tenant_id text, thread_no bigint, no integer, key text, version text,
  json_text text)
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  separator constant text := case when add_long_value.version is null then ', ' else ',' end;
  bodies constant text[] := perch.split_json(add_long_value.json_text, separator);
begin
  insert into perch.checkpoint_values (tenant_id, thread_no, no, key, version, json_text, pieces)
  values (add_long_value.tenant_id, add_long_value.thread_no, add_long_value.no, add_long_value.key,
    add_long_value.version,
          case when cardinality(bodies) = 1 then ''
            else left(add_long_value.json_text, 1) || separator || right(add_long_value.json_text, 1) end,
          perch.add_pieces(add_long_value.tenant_id, add_long_value.thread_no, bodies));
end
$$;

comment on function perch.add_long_value(text, bigint, integer, text, text, text) is
  'Private. Stores a value under a number of a thread, in pieces. Without a version: JSON as jsonb writes it.';
