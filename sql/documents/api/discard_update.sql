create or replace function perch.discard_update(space_id text, app_id text, table_name text, record_id text, seq bigint)
returns boolean
language sql volatile
set search_path = pg_catalog, pg_temp
as $$
  with discarded as (
    delete from perch.document_inbox i
     where i.space_id = discard_update.space_id and i.app_id = discard_update.app_id
       and i.table_name = discard_update.table_name and i.record_id = discard_update.record_id
       and i.seq = discard_update.seq and i.status = 'rejected'
    returning 1
  )
  select exists (select from discarded)
$$;
grant execute on function perch.discard_update to perch_worker;

comment on function perch.discard_update(text, text, text, text, bigint) is
  'For perch_worker and superusers: forgets an update that was set aside. False when there is none at this seq.';
