create or replace function perch.has_encrypted_record(entry perch.encrypted_records)
returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  if entry.version is null then
    return exists (
      select from perch.encrypted_records x
       where x.space_id = entry.space_id and x.app_id = entry.app_id and x.table_name = entry.table_name
         and x.record_id = entry.record_id and x.peer_id = entry.peer_id
         and x.next = entry.next and x.first = entry.first and x.payload = entry.payload);
  end if;
  return not perch.exceeds_reach(entry) or exists (
    select from perch.encrypted_records x
     where x.space_id = entry.space_id and x.app_id = entry.app_id and x.table_name = entry.table_name
       and x.record_id = entry.record_id and x.peer_id is null
       and x.version = entry.version and x.user_id = entry.user_id);
end
$$;
grant execute on function perch.has_encrypted_record to perch_worker;

comment on function perch.has_encrypted_record(perch.encrypted_records) is
  'Private. Whether there is nothing new in a record, so that it need not be stored: the document has this span, or has in spans, or in a snapshot of the same author, all that this snapshot has.';
