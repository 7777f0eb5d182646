-- Group commit: one call for everything that waits, over all documents: one statement, one commit, one notification a
-- document.
--
-- Lock order: keys of documents that are not there, then the rows of the others, each by key (perch.make_documents,
-- perch.append_to_tail). Between documents it waits while it holds some, for an app may have them in another order: so
-- a caller with several gives a lock_timeout_ms far below deadlock_timeout, and gives way before a deadlock is looked
-- for.
--
-- "missed" is complete: it is read while the rows are locked, so no update below our positions can appear later.
--
-- The caller has taken in all of a document's updates one after another, so any behind one that is refused may build on
-- it: they are given back without an answer; the caller tries them on a copy without the refused one.
--
-- Access: this runs with the rights of the worker, whose policies show it everything; so it checks each author itself
-- (perch.may_write), in the transaction that appends.
create or replace function perch.append_updates(
  space_ids text[], app_ids text[], table_names text[], record_ids text[], after_seqs bigint[],
  update_entries integer[], updates bytea[], user_ids text[], writable boolean[], client_ids text[],
  ends jsonb[] default null, lock_timeout_ms integer default null, notify boolean default true,
  after_revisions bigint[] default null, revisions bigint[] default null
)
returns table (kind text, ordinal integer, seq bigint, error text, payload bytea)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
-- Planning anew for each call would cost as much as the call.
set plan_cache_mode = force_generic_plan
as $$
declare
  max_bytes constant bigint := perch.setting('max_update_bytes', 16777216);
  nths integer[];                      -- of each update: as which of its document's it is appended
  errors text[];                       -- null: accepted; again: behind a refused one
  accepted perch.tail_update[];
  documents perch.tail_append[];
  previous bigint[];
    -- of each document: its last position before ours; null: it is elsewhere than the caller has it
  ignored text;
begin
  if lock_timeout_ms is not null then
    ignored := set_config('lock_timeout', lock_timeout_ms::text, true);
  end if;

  -- 1. Whose updates are taken: of each document those up to the first that is refused.
  with judged as (
    select u.*, case when coalesce(u.user_id, '') = '' then 'PE401'
                     when octet_length(u.payload) > max_bytes then 'PE413'
                     when not perch.may_write(space_ids[u.entry], u.user_id, u.by_token) then 'PE403' end as error
      from unnest(update_entries, updates, ends, user_ids, writable, client_ids)
             with ordinality as u (entry, payload, ends, user_id, by_token, client_id, ordinal)
  ),
  numbered as (
    select j.*, (row_number() over before)::integer as nth, count(j.error) over before as refused
      from judged j
    window before as (partition by j.entry order by j.ordinal)
  )
  select array_agg(n.nth order by n.ordinal),
         array_agg(case when n.refused > 1 or n.refused = 1 and n.error is null then 'again' else n.error end
           order by n.ordinal),
         array_agg(row(n.entry, n.nth, null, null, n.payload, n.ends, n.user_id, n.client_id, null)::perch.tail_update)
           filter (where n.refused = 0)
    into nths, errors, accepted
    from numbered n;

  -- 2. Their documents; one of which the caller knows nothing may have to be made.
  select array_agg(row(a.entry, space_ids[a.entry], app_ids[a.entry], table_names[a.entry], record_ids[a.entry],
                       after_seqs[a.entry], after_revisions[a.entry],
                         coalesce(revisions[a.entry], perch.new_revision()),
                       a.updates, a.bytes, a.user_id, null)::perch.tail_append)
    into documents
    from (select u.entry, count(*) as updates, sum(octet_length(u.payload)) as bytes,
                 min(u.user_id) filter (where u.nth = 1) as user_id
            from unnest(accepted) u group by u.entry) a;
  if after_revisions is null or 0 = any (after_revisions) or array_position(after_revisions, null) is not null then
    perform perch.make_documents(documents);
  end if;

  -- 3. They are appended.
  previous := perch.append_to_tail(documents, accepted, append_updates.notify);

  -- 4. What the caller lacks, and what became of each update.
  if exists (select from unnest(previous, after_seqs) x (previous, after_seq) where x.previous > x.after_seq) then
    return query
      select 'missed', e.entry::integer, t.seq, null::text, t.payload
        from unnest(previous, after_seqs) with ordinality e (previous, after_seq, entry)
        join perch.document_updates t
          on t.space_id = space_ids[e.entry] and t.app_id = app_ids[e.entry]
         and t.table_name = table_names[e.entry] and t.record_id = record_ids[e.entry]
         and t.seq > e.after_seq and t.seq <= e.previous
       order by 2, 3;
  end if;
  return query
    select 'appended', u.ordinal::integer, case when u.error is null then previous[u.entry] + u.nth end,
           case when u.error is null and previous[u.entry] is null then 'PE410'
             else nullif(u.error, 'again') end, null::bytea
      from unnest(update_entries, nths, errors) with ordinality u (entry, nth, error, ordinal);
end
$$;

comment on function perch.append_updates(text[], text[], text[], text[], bigint[], integer[], bytea[], text[], boolean[], text[], jsonb[], integer, boolean, bigint[], bigint[]) is
  'For perch_worker: appends decoded updates to the tails of documents. The first five arrays have an element for each document (after_seqs and after_revisions: the position that the caller has; without the latter only the numbers are compared; revisions: what is to identify the position that it then has, default: drawn here), the others one for each update: update_entries says to which document it belongs, 1-based; writable whether a token lets its author write there (null: perch.space_members decides), ends as in perch.document_updates. lock_timeout_ms: how long to wait for a document that somebody else has locked. notify: whether to notify on perch_documents; without, the caller does so soon after, by perch.notify_appends. Returns for each update of others that the caller lacks a row missed (ordinal: the document''s), then for each update a row appended (ordinal, and seq or the error PE401, PE403, PE413, or PE410 when the document is not, or not for certain, what the caller has: it was deleted, the database went back to an earlier state, or the tail does not reach back so far; neither for one that comes behind a refused one in its document and may build on it: it is to be given again, without that).';
