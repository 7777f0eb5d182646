-- A base is a position that somebody read, or was given for a push. A push that had nothing new in it, or was
-- discarded, leaves nothing at its position: so it is refused where something else is known to be there, not where
-- nothing is.
create or replace function perch.has_base(document perch.documents, seq bigint, revision bigint)
returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select perch.has_position(document, seq, revision) is not false
      or not (
        seq < document.incarnation_seq or seq in (document.incarnation_seq, document.merged_seq)
        or exists (
          select from perch.document_updates u
           where u.space_id = document.space_id and u.app_id = document.app_id
             and u.table_name = document.table_name and u.record_id = document.record_id
             and (u.seq = has_base.seq or u.pushed_seq = has_base.seq and u.pushed_revision <> has_base.revision))
        or exists (
          select from perch.document_inbox i
           where i.space_id = document.space_id and i.app_id = document.app_id
             and i.table_name = document.table_name and i.record_id = document.record_id
             and i.seq = has_base.seq and i.revision <> has_base.revision))
$$;

comment on function perch.has_base(perch.documents, bigint, bigint) is
  'Private. False when a document has something else at a position than its author was given with it, as update or as push: the database went back. seq: not above its head; revision: what identifies it.';
