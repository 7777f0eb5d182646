-- What perch.has_position is for other documents: positions are given out in commit order, so one look at what stands
-- at a position answers for all before it. A record may be gone because another one has all that was in it: of those
-- that were replaced last the document still knows (replaced), and of others nothing tells, which is null.
create or replace function perch.has_encrypted_position(document perch.encrypted_documents, seq bigint, revision bigint)
returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  there bigint;
begin
  if seq > document.head_seq or seq < document.incarnation_seq then
    return false;
  elsif revision is null then
    return true;
  elsif seq = document.head_seq then
    return revision = document.revision;
  elsif seq = document.incarnation_seq then
    return revision = 0;
  end if;
  select r.revision into there from perch.encrypted_records r
   where r.space_id = document.space_id and r.app_id = document.app_id
     and r.table_name = document.table_name and r.record_id = document.record_id
     and r.seq = has_encrypted_position.seq;
  if not found then
    select document.replaced[n + 1] into there
      from generate_series(1, cardinality(document.replaced), 2) n where document.replaced[n] = seq limit 1;
  end if;
  return revision = there;
end
$$;
grant execute on function perch.has_encrypted_position to perch_worker;

comment on function perch.has_encrypted_position(perch.encrypted_documents, bigint, bigint) is
  'Private. Whether an encrypted document leads on from a position: what was at the position, which revision identifies (null: only the numbers are compared), is there. False when the document never came there, ended since, or has something else there: the database went back. Null when the record at the position was replaced by others too long since.';
