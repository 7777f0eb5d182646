-- Statement trigger of the inbox: workers have something to merge. (For what comes to the tail perch.append_to_tail
-- notifies.)
create or replace function perch.notify_documents()
returns trigger
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  perform pg_notify('perch_documents',
    perch.document_notification(a.space_id, a.app_id, a.table_name, a.record_id, a.seq))
     from (select n.space_id, n.app_id, n.table_name, n.record_id, max(n.seq) as seq
             from added n group by n.space_id, n.app_id, n.table_name, n.record_id) a;
  return null;
end
$$;

comment on function perch.notify_documents() is
  'Private. Trigger of the inbox: notifies on perch_documents once for each document that the statement appended to.';
