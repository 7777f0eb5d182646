-- Lock order: the document's snapshot, and at the end the row of the document against writers (docs/architecture.md,
-- "The order of locks"). At the end it is only tried, for a second: a writer who has it may be about to delete the
-- document in the same transaction, and then waits for us. If that does not end, everything here is undone, and the
-- next projection folds.
--
-- Writers go on meanwhile, and so does a deletion: nothing is locked of the row until then, not even its key. A weak
-- lock there, and a writer who has the row and deletes it, would wait for each other as soon as a third one waits for
-- the row. That the document is still the same one is seen once it is locked. Readers are served by one statement each,
-- so they see the old snapshot and tail or the new. The tail behind the previous snapshot stays for one more folding:
-- readers a little behind need no snapshot, and patches based on a recent position can be merged.
create or replace function perch.fold_document(
  space_id text, app_id text, table_name text, record_id text, snapshot bytea, seq bigint, version bytea default null,
  revision bigint default null, lock_timeout_ms integer default null
)
returns boolean
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  document perch.documents;
  locked perch.documents;
  began bigint;
  folded record;
  shown perch.row_documents;
  version_shown jsonb;
begin
  if lock_timeout_ms is not null then
    perform set_config('lock_timeout', lock_timeout_ms::text, true);
  end if;
  select d.* into document from perch.documents d
   where d.space_id = fold_document.space_id and d.app_id = fold_document.app_id
     and d.table_name = fold_document.table_name and d.record_id = fold_document.record_id;
  -- A snapshot of what a database that went back has lost would put itself in the place of what it has now.
  if not found or fold_document.seq <= document.snapshot_seq
     or perch.has_position(document, fold_document.seq, fold_document.revision) is not true then
    return false;
  end if;

  insert into perch.document_snapshots as s (space_id, app_id, table_name, record_id, seq, snapshot, version, revision)
  values (document.space_id, document.app_id, document.table_name, document.record_id,
          fold_document.seq, fold_document.snapshot, fold_document.version, coalesce(fold_document.revision, 0))
  on conflict on constraint document_snapshots_pkey do update
    set seq = excluded.seq, snapshot = excluded.snapshot, version = excluded.version, revision = excluded.revision,
        created_at = clock_timestamp()
    where s.seq < excluded.seq;
  if not found then
    return false;
  end if;

  -- Another worker may have folded while we waited for its snapshot's row.
  began := document.incarnation_seq;
  select d.* into document from perch.documents d
   where d.space_id = fold_document.space_id and d.app_id = fold_document.app_id
     and d.table_name = fold_document.table_name and d.record_id = fold_document.record_id;
  if document.incarnation_seq is distinct from began then
    raise exception 'the document was deleted meanwhile' using errcode = 'lock_not_available';
  end if;
  select count(*) as updates, coalesce(sum(octet_length(u.payload)), 0) as bytes into folded
    from perch.document_updates u
   where u.space_id = document.space_id and u.app_id = document.app_id
     and u.table_name = document.table_name and u.record_id = document.record_id
     and u.seq > document.snapshot_seq and u.seq <= fold_document.seq;
  -- What the columns of a row show is named by its position, for as long as the tail says which version that is.
  select r.* into shown from perch.row_documents r
   where r.space_id = document.space_id and r.app_id = document.app_id and r.table_name = document.table_name
     and r.record_id = document.record_id and r.shown_version is null and r.shown_seq < document.snapshot_seq;
  if found then
    version_shown := perch.document_version(document.space_id, document.app_id, document.table_name,
      document.record_id, shown.shown_seq);
  end if;
  with forgotten as (
    delete from perch.document_updates u
     where u.space_id = document.space_id and u.app_id = document.app_id
       and u.table_name = document.table_name and u.record_id = document.record_id
       and u.seq <= document.snapshot_seq
    returning u.*
  )
  insert into perch.document_history
    (space_id, app_id, table_name, record_id, seq, first_seq, updates, bytes, ends, user_id, client_id, actor, first_at,
      last_at)
  select document.space_id, document.app_id, document.table_name, document.record_id,
         h.seq, h.first_seq, h.updates, h.bytes, h.ends, h.user_id, h.client_id, h.actor, h.first_at, h.last_at
    from perch.history_ranges(array(select f::perch.document_updates from forgotten f)) h;
  locked := perch.try_document_row(row(1, document.space_id, document.app_id, document.table_name, document.record_id,
    null, null, null, null, null, null, null)::perch.tail_append, '1 second');
  if (locked.incarnation_seq, locked.snapshot_seq) is distinct from (document.incarnation_seq, document.snapshot_seq)
  then
    raise exception 'the document was deleted meanwhile' using errcode = 'lock_not_available';
  end if;
  if version_shown is not null then
    update perch.row_documents r
       set shown_version = version_shown
      from (select x.ctid as place from perch.row_documents x
             where x.space_id = document.space_id and x.app_id = document.app_id
               and x.table_name = document.table_name and x.record_id = document.record_id
               and x.shown_seq = shown.shown_seq and x.shown_version is null
               for update skip locked) l
     where r.ctid = l.place;
  end if;
  if exists (
    select from perch.row_documents r
     where r.space_id = document.space_id and r.app_id = document.app_id and r.table_name = document.table_name
       and r.record_id = document.record_id and r.shown_version is null and r.shown_seq < document.snapshot_seq)
  then
    -- It has been projected meanwhile, or is being deleted.
    raise exception 'what the columns show cannot be noted now' using errcode = 'lock_not_available';
  end if;
  update perch.documents d
     set snapshot_seq = fold_document.seq, tail_from = document.snapshot_seq,
         tail_count = d.tail_count - folded.updates, tail_bytes = d.tail_bytes - folded.bytes
   where d.space_id = document.space_id and d.app_id = document.app_id
     and d.table_name = document.table_name and d.record_id = document.record_id;
  return true;
end
$$;
grant execute on function perch.fold_document to perch_worker;

comment on function perch.fold_document(text, text, text, text, bytea, bigint, bytea, bigint, integer) is
  'For perch_worker: stores a snapshot that covers the tail up to position seq, and forgets the tail up to the previous snapshot. version: its version vector, as Loro encodes it; with it, readers can be given the snapshot without decoding it. revision: what identifies seq (null: only the number is compared). lock_timeout_ms: as in perch.project_document. False when there is a newer snapshot already, or the document has something else at seq.';
