create or replace function perch.notify_appends(
  space_ids text[], app_ids text[], table_names text[], record_ids text[], seqs bigint[]
)
returns void
language sql volatile
set search_path = pg_catalog, pg_temp
as $$
  select pg_notify('perch_documents',
    perch.document_notification(a.space_id, a.app_id, a.table_name, a.record_id, a.seq))
    from unnest(space_ids, app_ids, table_names, record_ids, seqs) as a (space_id, app_id, table_name, record_id, seq)
$$;
grant execute on function perch.notify_appends to perch_worker;

comment on function perch.notify_appends(text[], text[], text[], text[], bigint[]) is
  'For perch_worker: notifies on perch_documents for appends that did not do so themselves (perch.append_updates with notify false). The arrays have an element for each document: its key, and the position it has reached.';
