-- Lock order: nothing but the lock for merging, as perch.claim_inbox. It is never waited for, only tried again
-- (patience_ms): a store that asks has the document, which the worker that merges may be waiting for. That one gives up
-- within its own time-out; or it goes on, where it had got the document before.
--
-- What a statement wrote is based on what the columns showed: the version that was projected, and what other
-- statements had written since. Those stay here until the columns show what came of them, so they are at hand.
create or replace function perch.claim_column_writes(
  space_id text, app_id text, table_name text, record_id text, max_count integer default 100,
  patience_ms integer default 0
)
returns table (ordinal bigint, patch text, base jsonb, user_id text, age_ms float8)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  until constant timestamptz := clock_timestamp() + make_interval(secs => patience_ms / 1000.0);
begin
  while not perch.take_document_lock(claim_column_writes.space_id, claim_column_writes.app_id,
    claim_column_writes.table_name, claim_column_writes.record_id, purpose => 'merge', wait => false)
  loop
    if patience_ms = 0 then
      return;
    elsif clock_timestamp() > until then
      raise exception 'a worker has been merging this document for % ms', patience_ms
        using errcode = 'lock_not_available';
    end if;
    perform pg_sleep(0.005);
  end loop;
  -- Noted by a transaction that could not tell (perch.note_column_writes): the row is no document, and when it becomes
  -- one it begins with what the columns have.
  delete from perch.column_writes w
   where w.space_id = claim_column_writes.space_id and w.app_id = claim_column_writes.app_id
     and w.table_name = claim_column_writes.table_name and w.record_id = claim_column_writes.record_id
     and w.patch is not null and w.placed is null
     and not perch.is_row_document(w.space_id, w.app_id, w.table_name, w.record_id);
  return query
    select w.ordinal, w.patch::text,
           perch.merge_ends(coalesce(w.base, d.shown_version, perch.document_version(d.space_id, d.app_id, d.table_name,
             d.record_id, d.shown_seq), '{}'), coalesce((
             select e.ends from perch.column_writes e
              where e.space_id = w.space_id and e.app_id = w.app_id and e.table_name = w.table_name
                and e.record_id = w.record_id and e.ordinal < w.ordinal and e.ends is not null
              order by e.ordinal desc limit 1), '{}')),
           w.user_id, perch.age_ms(w.written_at)
      from (
        select s.*, sum(octet_length(s.patch::text)) over (order by s.ordinal rows between unbounded preceding
                 and 1 preceding) as before
          from (
            select n.* from perch.column_writes n
             where n.space_id = claim_column_writes.space_id and n.app_id = claim_column_writes.app_id
               and n.table_name = claim_column_writes.table_name and n.record_id = claim_column_writes.record_id
               and n.placed is null
             order by n.ordinal
             limit max_count) s) w
      left join perch.row_documents d
        on d.space_id = w.space_id and d.app_id = w.app_id and d.table_name = w.table_name and d.record_id = w.record_id
     where coalesce(w.before, 0) < 8388608
     order by w.ordinal;
end
$$;
grant execute on function perch.claim_column_writes to perch_worker;

comment on function perch.claim_column_writes(text, text, text, text, integer, integer) is
  'For perch_worker: what plain statements wrote to the columns of a row that are a document and is not merged yet, in order, until the end of the transaction for this worker alone; nothing when another worker has it. patch: the new values as JSON; null: the row was deleted, and perch.end_row_document ends the document. Once it has given 8 MiB it gives no further one (perch.claim_inbox says why). base: the version (as document_updates.ends) that the first is based on; each later one also on those before it. patience_ms: for how long to try while another worker merges; 0: not at all. Errors: 55P03 when it takes longer.';
