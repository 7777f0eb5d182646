create or replace function perch.inbox_item(space_id text, app_id text, table_name text, record_id text, seq bigint)
returns table (status text, error jsonb)
language plpgsql stable
set search_path = pg_catalog, pg_temp
rows 1
as $$
begin
  return query
    select i.status, i.error from perch.document_inbox i
     where i.space_id = inbox_item.space_id and i.app_id = inbox_item.app_id
       and i.table_name = inbox_item.table_name and i.record_id = inbox_item.record_id and i.seq = inbox_item.seq;
end
$$;
grant execute on function perch.inbox_item to perch_worker;

comment on function perch.inbox_item(text, text, text, text, bigint) is
  'Private. What became of what was pushed to a document at a position: pending, or rejected with its error; no row: it is merged.';
