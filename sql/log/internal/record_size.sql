-- The stamps count because a snapshot gives one for every field, also for those that only written_at and written_by
-- stamp: of many short fields they are most of it. Their number is bounded first by the length of the text, in which a
-- field has at least 8 bytes: so the fields of a small record are not counted.
create or replace function perch.record_size(data jsonb, long_data jsonb, field_meta jsonb, client_bytes integer)
returns integer
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  text_bytes constant bigint := octet_length(data::text);
  stamp_bytes constant integer := 34 + coalesce(client_bytes, 0);
  bytes bigint := text_bytes + coalesce(octet_length(long_data::text), 0) + coalesce(octet_length(field_meta::text), 0);
begin
  if field_meta is not null and bytes + text_bytes * (8 + stamp_bytes) / 8 > 4000 then
    bytes := bytes + coalesce((select sum(octet_length(to_json(k)::text) + stamp_bytes)
      from jsonb_object_keys(data) k where not record_size.field_meta ? k), 0);
  end if;
  return case when bytes > 4000 then least(bytes, 2147483647) end;
end
$$;
grant execute on function perch.record_size to perch_worker;

comment on function perch.record_size(jsonb, jsonb, jsonb, integer) is
  'Private. What perch.stored_records.size says of a record: the bytes of its text, null up to 4,000. field_meta: its stamps, null for a document, which has none; client_bytes: those of the client whose stamp the other fields have.';
