create or replace function perch.retry_update(space_id text, app_id text, table_name text, record_id text, seq bigint)
returns boolean
language sql volatile
set search_path = pg_catalog, pg_temp
as $$
  with retried as (
    update perch.document_inbox i set status = 'pending', error = null
     where i.space_id = retry_update.space_id and i.app_id = retry_update.app_id
       and i.table_name = retry_update.table_name and i.record_id = retry_update.record_id
       and i.seq = retry_update.seq and i.status = 'rejected'
    returning i.*
  ), notified as (
    select pg_notify('perch_documents', perch.document_notification(
             r.space_id, r.app_id, r.table_name, r.record_id, r.seq))
      from retried r
  )
  select exists (select from notified)
$$;
grant execute on function perch.retry_update to perch_worker;

comment on function perch.retry_update(text, text, text, text, bigint) is
  'For perch_worker and superusers: gives an update that was set aside (see perch doctor, or perch.document_inbox where status is rejected) to the workers once more. False when there is none at this seq.';
