-- What a document was at a position is the union of what the updates up to there had in them. While an update is in the
-- tail, its own ends are known. Of those that were folded the history keeps the ends of ranges: in the middle of one,
-- nobody knows any more. Each update was taken in when all it builds on was there, so a union like this is a version
-- the document really had.
create or replace function perch.version_at(space_id text, app_id text, table_name text, record_id text, seq bigint)
returns table (merged_seq bigint, incarnation_seq bigint, version jsonb, earlier_seq bigint, later_seq bigint)
language plpgsql stable
set search_path = pg_catalog, pg_temp
rows 1
as $$
begin
  return query
    select d.merged_seq, d.incarnation_seq,
           perch.document_version(d.space_id, d.app_id, d.table_name, d.record_id, at_seq => version_at.seq),
           (select max(h.seq) from perch.document_history h
             where h.space_id = d.space_id and h.app_id = d.app_id
               and h.table_name = d.table_name and h.record_id = d.record_id
               and h.seq <= version_at.seq),
           (select h.seq from perch.document_history h
             where h.space_id = d.space_id and h.app_id = d.app_id
               and h.table_name = d.table_name and h.record_id = d.record_id
               and h.seq > version_at.seq and h.first_seq <= version_at.seq
             order by h.seq limit 1)
      from perch.documents d
     where d.space_id = version_at.space_id and d.app_id = version_at.app_id
       and d.table_name = version_at.table_name and d.record_id = version_at.record_id;
end
$$;
grant execute on function perch.version_at to perch_worker;

comment on function perch.version_at(text, text, text, text, bigint) is
  'Private. The version of a document at a position, as document_updates.ends; earlier_seq and, where the position is in the middle of a range that was folded, later_seq: the nearest positions whose version is known. No row when there is no such document.';
