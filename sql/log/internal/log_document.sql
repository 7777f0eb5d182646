-- Lock order: the counter of the space, behind the document and its record, which the caller holds; it is only tried
-- (docs/architecture.md, "The order of locks").
--
-- As for changes of records, perch.number_changes says why the order is that of the commits: whoever writes a document
-- has its row.
create or replace function perch.log_document(
  space_id text, app_id text, table_name text, record_id text, op text, changed_fields text[], author text,
  client_id text, now timestamptz
)
returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  logged constant bigint := coalesce(perch.take_number(space_id, now), (perch.number_changes(
    array[row(1, space_id, table_name, record_id, op, null, null, now, false, now, now, null, null, 1, null, null,
      'document', null, true)::perch.change], app_id, now))[1]);
begin
  if logged is not null then
    insert into perch.sync_changes
      (space_id, seq, app_id, table_name, record_id, op, changed_fields, at, user_id, client_id, origin, created_at)
    values (log_document.space_id, logged, log_document.app_id, log_document.table_name, log_document.record_id,
            log_document.op, log_document.changed_fields, now, author, log_document.client_id, 'document', now);
  else
    insert into perch.captured_changes
      (ordinal, nth, txid, space_id, app_id, table_name, record_id, op, changed_fields, at, user_id, client_id, origin,
       captured_at)
    values (perch.next_ordinal(), 1, pg_current_xact_id(), log_document.space_id, log_document.app_id,
            log_document.table_name, log_document.record_id, log_document.op, log_document.changed_fields, now, author,
            log_document.client_id, 'document', now);
    perform perch.notify_unnumbered(array[log_document.space_id]);
  end if;
  return logged;
end
$$;
grant execute on function perch.log_document to perch_worker;

comment on function perch.log_document(text, text, text, text, text, text[], text, text, timestamptz) is
  'Private. The one writer of what the log says of documents: that fields changed, or the deletion. The caller has locked the document. Returns the number of the entry; null where it is still to come.';
