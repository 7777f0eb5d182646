-- See perch.ring_changes. It rings for what is appended to the tail (readers have news) and to the inbox (workers do).
create or replace function perch.ring_documents()
returns trigger
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  perform pg_notify('perch_documents', jsonb_build_object('v', 1, 'space_id', a.space_id, 'app_id', a.app_id,
            'table', a.table_name, 'id', a.record_id, 'seq', a.seq)::text)
     from (select n.space_id, n.app_id, n.table_name, n.record_id, max(n.seq) as seq
             from added n group by n.space_id, n.app_id, n.table_name, n.record_id) a;
  return null;
end
$$;

comment on function perch.ring_documents() is
  'Private. Trigger of the tail and of the inbox: rings perch_documents once for each document that the statement appended to.';

create or replace trigger ring after insert on perch.document_updates
  referencing new table as added for each statement execute function perch.ring_documents();
create or replace trigger ring after insert on perch.document_inbox
  referencing new table as added for each statement execute function perch.ring_documents();
