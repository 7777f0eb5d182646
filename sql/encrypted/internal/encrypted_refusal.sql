create or replace function perch.encrypted_refusal(
  entry perch.encrypted_records, has_ended boolean, may_write boolean
)
returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  if not perch.may_write(entry.space_id, entry.user_id, may_write) then
    return 'PE403';
  elsif has_ended then
    return 'PE410';
  -- A record decrypts in every document of its key; the header is signed, the document is not.
  elsif exists (
    select from perch.encrypted_records x
     where x.space_id = entry.space_id and x.mark = entry.mark
       and (x.app_id, x.table_name, x.record_id) is distinct from (entry.app_id, entry.table_name, entry.record_id))
  then
    return 'PE422';
  end if;
  return null;
end
$$;
grant execute on function perch.encrypted_refusal to perch_worker;

comment on function perch.encrypted_refusal(perch.encrypted_records, boolean, boolean) is
  'Private. Why a record is not taken into a document: PE403: its author may not write here; PE410: it is of an incarnation that has ended; PE422: its ciphertext is one of another document. Null: nothing of that. has_ended: whether it is of such an incarnation (perch.ended_records); may_write: as in perch.may_write.';
