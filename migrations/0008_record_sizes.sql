-- How long each record is as text. The size of a jsonb value says little about it: numbers and what compresses well are stored in a
-- fraction of what they are written out, and pages of answers are bounded by what is written out.

-- Up Migration

alter table perch.stored_records add column size integer;
comment on column perch.stored_records.size is
  'Bytes of the record as JSON text, about: data, long_data and the stamps of all fields (documents have none), where that is over 4,000; null where it is less. Bounds the record, and the pages that it is in.';

-- The owner is bound by the policies, which show nothing to a migration.
alter table perch.stored_records no force row level security;
do $sizes$
declare
  found record;
  bytes bigint;
begin
  for found in select r.space_id, r.app_id, r.table_name, r.record_id from perch.stored_records r loop
    begin
      select octet_length(r.data::text) + coalesce(octet_length(r.long_data::text), 0) + case when r.written_at is null then 0 else
               octet_length(r.field_meta::text) + coalesce((
                 select sum(octet_length(to_json(k)::text) + 34 + coalesce(octet_length(r.written_by), 0))
                   from jsonb_object_keys(r.data) k where not r.field_meta ? k), 0) end
        into bytes
        from perch.stored_records r
       where r.space_id = found.space_id and r.app_id = found.app_id and r.table_name = found.table_name and r.record_id = found.record_id;
    exception when program_limit_exceeded then
      bytes := 1073741824;
    end;
    if bytes > 4000 then
      update perch.stored_records r set size = bytes
       where r.space_id = found.space_id and r.app_id = found.app_id and r.table_name = found.table_name and r.record_id = found.record_id;
    end if;
  end loop;
end
$sizes$;
alter table perch.stored_records force row level security;

-- Down Migration

alter table perch.stored_records drop column size;
