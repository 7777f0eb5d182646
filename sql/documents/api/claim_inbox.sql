-- A document is merged by one worker at a time, because what is pending may build on what is pending before it. The
-- lock is a try: another worker that has it does the work.
--
-- Lock order: nothing but the lock for merging (docs/architecture.md, "The order of locks"), which only workers want
-- and none waits for. In particular not the items: whoever deletes the document holds its row and takes them, while we
-- go on to want its row.
--
-- Whoever claims holds all of it in memory: so nothing more begins behind the first 8 MiB, by the length of what is
-- sent.
create or replace function perch.claim_inbox(
  space_id text, app_id text, table_name text, record_id text, max_count integer default 100,
  lock_timeout_ms integer default null
)
returns setof perch.document_inbox
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  if lock_timeout_ms is not null then
    perform set_config('lock_timeout', lock_timeout_ms::text, true);
  end if;
  if not perch.take_document_lock(
    claim_inbox.space_id, claim_inbox.app_id, claim_inbox.table_name, claim_inbox.record_id, purpose => 'merge',
      wait => false)
  then
    return;
  end if;
  return query
    select i.*
      from (
        select s.seq, sum(s.bytes) over (order by s.seq) - s.bytes as before
          from (
            select n.seq, coalesce(octet_length(n.payload), octet_length(n.patch::text)) as bytes
              from perch.document_inbox n
             where n.space_id = claim_inbox.space_id and n.app_id = claim_inbox.app_id
               and n.table_name = claim_inbox.table_name and n.record_id = claim_inbox.record_id
               and n.status = 'pending'
             order by n.seq
             limit max_count) s) p
      join perch.document_inbox i
        on i.space_id = claim_inbox.space_id and i.app_id = claim_inbox.app_id
          and i.table_name = claim_inbox.table_name and i.record_id = claim_inbox.record_id and i.seq = p.seq
     where p.before < 8388608
     order by i.seq;
end
$$;
grant execute on function perch.claim_inbox to perch_worker;

comment on function perch.claim_inbox(text, text, text, text, integer, integer) is
  'For perch_worker: what is pending of a document, in order, until the end of the transaction for this worker alone; nothing when another worker has it. Once it has given 8 MiB it gives no further one. lock_timeout_ms: as in perch.project_document.';
