-- The one rule for whether what somebody knows of a document, all of it up to a position, is what the database has up
-- to there. It is asked by every append, by whatever is written of a copy (projection, snapshot), and for every reader.
-- Positions of a document are given out in commit order, so whoever has an update at a position has all before it: one
-- look at that update answers for them.
--
-- Updates that are folded away cannot be told apart any more: null, which is not good enough to build on.
--
-- Stable: it looks with the snapshot of the statement that asks. What the caller knows was committed before that
-- statement began.
create or replace function perch.has_position(document perch.documents, seq bigint, revision bigint)
returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  if seq > document.merged_seq or seq < document.incarnation_seq then
    return false;
  elsif seq = document.merged_seq then
    return revision is null or revision = document.revision;
  elsif seq < document.tail_from then
    return null;
  elsif revision is null then
    return true;
  elsif seq = document.tail_from then
    return case when seq = document.incarnation_seq then revision = 0 end;
  end if;
  return exists (
    select from perch.document_updates u
     where u.space_id = document.space_id and u.app_id = document.app_id
       and u.table_name = document.table_name and u.record_id = document.record_id
       and u.seq = has_position.seq and u.revision = has_position.revision);
end
$$;
grant execute on function perch.has_position to perch_worker;

comment on function perch.has_position(perch.documents, bigint, bigint) is
  'Private. Whether a document leads on from a position: its tail has everything behind it, and what was at the position is there. revision: what identifies that (see perch.document_updates); null: only the numbers are compared. False when the document never came there, ended since, or has something else there: the database went back. Null when the tail does not reach back so far.';
