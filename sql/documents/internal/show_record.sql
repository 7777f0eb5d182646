-- The one writer of a document's record.
--
-- Lock order: as perch.log_document.
create or replace function perch.show_record(
  space_id text, app_id text, table_name text, record_id text, difference perch.record_difference,
  author text, client_id text, created_by text
)
returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  now constant timestamptz := clock_timestamp();
  logged constant bigint := perch.log_document(show_record.space_id, show_record.app_id, show_record.table_name,
    show_record.record_id, case when difference.is_new then 'insert' else 'update' end, difference.changed,
    show_record.author, show_record.client_id, now);
begin
  if difference.is_new then
    insert into perch.stored_records as r
      (space_id, app_id, table_name, record_id, data, long_data, long_fields, latest_at, inserted_at, seq, user_id,
        size)
    values (show_record.space_id, show_record.app_id, show_record.table_name, show_record.record_id,
            difference.short, difference.long, difference.long_fields, now, now, coalesce(logged, 0),
              show_record.created_by,
              difference.bytes)
    -- It was deleted before.
    on conflict on constraint stored_records_pkey do update
      set data = excluded.data, long_data = excluded.long_data, long_fields = excluded.long_fields,
        size = excluded.size,
          latest_at = excluded.latest_at, seq = greatest(r.seq, excluded.seq), updated_at = now,
          inserted_at = excluded.inserted_at, user_id = excluded.user_id, deleted = false;
  else
    update perch.stored_records r
       set data = difference.short, long_data = case when difference.moves then difference.long else r.long_data end,
           long_fields = difference.long_fields, size = difference.bytes, latest_at = now,
             seq = coalesce(logged, r.seq),
             updated_at = now
     where r.space_id = show_record.space_id and r.app_id = show_record.app_id
       and r.table_name = show_record.table_name and r.record_id = show_record.record_id;
  end if;
  return logged;
end
$$;
grant execute on function perch.show_record to perch_worker;

comment on function perch.show_record(text, text, text, text, perch.record_difference, text, text, text) is
  'Private. Writes what a document has changed into its record, and names the fields in the log, as the author''s; created_by: whose the record is when it is new. difference: of perch.compare_record, in this transaction, with fields in changed. Returns the log''s seq; null where it is still to come.';
