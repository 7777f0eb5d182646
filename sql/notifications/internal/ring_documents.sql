-- See perch.ring_changes. It rings for what is appended to the tail (readers have news) and to the inbox (workers do), unless a
-- perch.append_updates in this transaction has promised that its caller will (its setting, which that function takes back).
create or replace function perch.ring_documents()
returns trigger
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  if current_setting('perch.rung_later', true) = 'on' then
    return null;
  end if;
  perform pg_notify('perch_documents', perch.document_ring(a.space_id, a.app_id, a.table_name, a.record_id, a.seq))
     from (select n.space_id, n.app_id, n.table_name, n.record_id, max(n.seq) as seq
             from added n group by n.space_id, n.app_id, n.table_name, n.record_id) a;
  return null;
end
$$;

comment on function perch.ring_documents() is
  'Private. Trigger of the tail and of the inbox: rings perch_documents once for each document that the statement appended to.';
