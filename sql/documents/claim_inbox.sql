-- A document is merged by one worker at a time, because what is pending may build on what is pending before it. The lock is
-- a try: another worker that has it does the work.
create or replace function perch.claim_inbox(space_id text, app_id text, table_name text, record_id text, max_count integer default 100)
returns setof perch.document_inbox
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  if not pg_try_advisory_xact_lock(perch.lock_key(array['merge', claim_inbox.space_id, claim_inbox.app_id, claim_inbox.table_name, claim_inbox.record_id])) then
    return;
  end if;
  return query
    select i.* from perch.document_inbox i
     where i.space_id = claim_inbox.space_id and i.app_id = claim_inbox.app_id
       and i.table_name = claim_inbox.table_name and i.record_id = claim_inbox.record_id
       and i.status = 'pending'
     order by i.seq
     limit max_count
       for update;
end
$$;

comment on function perch.claim_inbox(text, text, text, text, integer) is
  'For perch_worker: what is pending of a document, in order, until the end of the transaction for this worker alone; nothing when another worker has it.';
