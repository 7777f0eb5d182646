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
-- (perch.may_write, and for columns of tables with rules perch.documents_in_sight), in the transaction that appends.
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
  -- A variable of its own is taken apart once, a parameter at each look.
  payloads constant bytea[] := updates;
  authors constant text[] := user_ids;
  spaces constant text[] := space_ids;
  errors text[] := '{}';               -- of each update: null: accepted; again: behind a refused one
  nths integer[] := '{}';              -- as which of its document's it is appended
  counts integer[] := array_fill(0, array[cardinality(space_ids)]);           -- of each document: its accepted updates,
  bytes bigint[] := array_fill(0::bigint, array[cardinality(space_ids)]);     -- and their bytes
  refusing boolean[] := '{}';          -- whether one of its updates was refused
  accepted perch.tail_update[] := '{}';
  documents perch.tail_append[] := '{}';
  previous bigint[];                   -- its last position before ours; null: it is elsewhere than the caller has it
  is_new boolean := false;
  is_behind boolean := false;          -- whether others appended what the caller lacks
  sees boolean[];                      -- of each update, whether its author may see the document; null: nobody asks
  entry integer;
  ignored text;
begin
  if lock_timeout_ms is not null then
    ignored := set_config('lock_timeout', lock_timeout_ms::text, true);
  end if;

  if exists (
    select from perch.synced_relations r
     where r.documents <> '{}' and (r.row_filter is not null or r.column_roles <> '{}')
       and r.table_name = any (append_updates.table_names))
  then
    select perch.documents_in_sight(array_agg(authors[u.nth] order by u.nth), array_agg(case
             when writable[u.nth] is not null then jsonb_build_object('readable', array[spaces[u.entry]],
               'writable', array[spaces[u.entry]]) end order by u.nth),
             array_agg(spaces[u.entry] order by u.nth), array_agg(app_ids[u.entry] order by u.nth),
             array_agg(table_names[u.entry] order by u.nth), array_agg(record_ids[u.entry] order by u.nth)) into sees
      from unnest(update_entries) with ordinality u (entry, nth);
  end if;

  -- 1. Whose updates are taken: of each document those up to the first that is refused.
  for nth in 1 .. cardinality(payloads) loop
    entry := update_entries[nth];
    errors[nth] := case
      when refusing[entry] then 'again'
      when coalesce(authors[nth], '') = '' then 'PE401'
      when octet_length(payloads[nth]) > max_bytes then 'PE413'
      when not perch.may_write(spaces[entry], authors[nth], writable[nth]) or sees[nth] is false then 'PE403' end;
    if errors[nth] is not null then
      refusing[entry] := true;
      continue;
    end if;
    counts[entry] := counts[entry] + 1;
    bytes[entry] := bytes[entry] + octet_length(payloads[nth]);
    nths[nth] := counts[entry];
    accepted := accepted || row(entry, counts[entry], null, null, payloads[nth], ends[nth], authors[nth],
      client_ids[nth], null)::perch.tail_update;
  end loop;

  -- 2. Their documents; one of which the caller knows nothing may have to be made.
  for nth in 1 .. cardinality(spaces) loop
    continue when counts[nth] = 0;
    documents := documents || row(nth, spaces[nth], app_ids[nth], table_names[nth], record_ids[nth],
      after_seqs[nth], after_revisions[nth], coalesce(revisions[nth], perch.new_revision()), counts[nth], bytes[nth],
      authors[array_position(update_entries, nth)], null)::perch.tail_append;
    is_new := is_new or coalesce(after_revisions[nth], 0) = 0;
  end loop;
  if is_new then
    perform perch.make_documents(documents);
  end if;

  -- 3. They are appended.
  previous := perch.append_to_tail(documents, accepted, append_updates.notify);

  -- 4. What the caller lacks, and what became of each update.
  for nth in 1 .. cardinality(spaces) loop
    is_behind := is_behind or coalesce(previous[nth] > after_seqs[nth], false);
  end loop;
  if is_behind then
    return query
      select 'missed', e.entry::integer, t.seq, null::text, t.payload
        from unnest(previous, after_seqs) with ordinality e (previous, after_seq, entry)
        join perch.document_updates t
          on t.space_id = space_ids[e.entry] and t.app_id = app_ids[e.entry]
         and t.table_name = table_names[e.entry] and t.record_id = record_ids[e.entry]
         and t.seq > e.after_seq and t.seq <= e.previous
       order by 2, 3;
  end if;
  kind := 'appended';
  for nth in 1 .. cardinality(payloads) loop
    ordinal := nth;
    seq := previous[update_entries[nth]] + nths[nth];
    entry := update_entries[nth];
    error := case
      when seq is not null then null
      when errors[nth] is not null then nullif(errors[nth], 'again')
      -- In columns of a row that is not there: no copy of it, however new, can be appended to.
      when (perch.document_relation(app_ids[entry], table_names[entry])).relation is not null
           and not exists (
             select from perch.documents d
              where d.space_id = spaces[entry] and d.app_id = app_ids[entry]
                and d.table_name = table_names[entry] and d.record_id = record_ids[entry]) then 'PE404'
      else 'PE410' end;
    return next;
  end loop;
end
$$;
grant execute on function perch.append_updates to perch_worker;

comment on function perch.append_updates(text[], text[], text[], text[], bigint[], integer[], bytea[], text[], boolean[], text[], jsonb[], integer, boolean, bigint[], bigint[]) is
  'For perch_worker: appends decoded updates to the tails of documents. The first five arrays have an element for each document (after_seqs and after_revisions: the position that the caller has; without the latter only the numbers are compared; revisions: what is to identify the position that it then has, default: drawn here), the others one for each update: update_entries says to which document it belongs, 1-based; writable whether a token lets its author write there (null: perch.space_members decides), ends as in perch.document_updates. lock_timeout_ms: how long to wait for a document that somebody else has locked. notify: whether to notify on perch_documents; without, the caller does so soon after, by perch.notify_appends. Returns for each update of others that the caller lacks a row missed (ordinal: the document''s), then for each update a row appended (ordinal, and seq or the error PE401, PE403, PE413, PE404 when it is in columns of a row that is not there, or PE410 when the document is not, or not for certain, what the caller has: it was deleted, the database went back to an earlier state, or the tail does not reach back so far; neither for one that comes behind a refused one in its document and may build on it: it is to be given again, without that).';
