-- Lock order: as perch.claim_inbox, which is asked first: it takes the lock for merging.
create or replace function perch.claim_pending(
  space_id text, app_id text, table_name text, record_id text, max_count integer default 100,
  lock_timeout_ms integer default null
)
returns table (
  seq bigint, payload bytea, patch text, base_seq bigint, user_id text, age_ms float8, ordinal bigint, base jsonb
)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  return query
    select i.seq, i.payload, i.patch::text, i.base_seq, i.user_id, perch.age_ms(i.created_at), null::bigint, null::jsonb
      from perch.claim_inbox(claim_pending.space_id, claim_pending.app_id, claim_pending.table_name,
        claim_pending.record_id, claim_pending.max_count, claim_pending.lock_timeout_ms) i;
  return query
    select 0::bigint, null::bytea, w.patch, null::bigint, w.user_id, w.age_ms, w.ordinal, w.base
      from perch.claim_column_writes(claim_pending.space_id, claim_pending.app_id, claim_pending.table_name,
        claim_pending.record_id, claim_pending.max_count) w;
end
$$;
grant execute on function perch.claim_pending to perch_worker;

comment on function perch.claim_pending(text, text, text, text, integer, integer) is
  'For perch_worker: what is pending of a document: what was pushed to it (perch.claim_inbox; payload or patch), then what plain statements wrote to its columns (perch.claim_column_writes; ordinal and base). Values are as those return them.';
