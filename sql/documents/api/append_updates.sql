-- One call for everything that waits, over all documents: one statement, one commit, one notification a document; two statements
-- inside when nothing is out of the ordinary, however many documents and updates there are.
--
-- Lock order: the rows of the documents, by key (docs/architecture.md, "The order of locks"), so that two calls cannot
-- deadlock. Between documents it waits while it holds some, for an app may have them in another order: so a caller with several gives
-- a lock_timeout_ms far below deadlock_timeout, and gives way before a deadlock is looked for. The rows are held until commit, so that
-- positions are in commit order. Hence "missed" is complete: it is read while the row is locked, so no update below our
-- positions can appear later.
--
-- No update is stored without what it builds on. Each document's row, once it is locked, is compared with what the caller has of the
-- document (perch.has_position): where the database went back, or gave the position to something else, nothing is stored. And the caller
-- has taken in all of a document's updates one after another, so any behind one that is refused may build on it: they are
-- given back without an answer; the caller tries them on a copy without the refused one.
--
-- Access: this runs with the rights of the worker, whose policies show it everything; so it checks each author itself, by the
-- same rules as perch.set_context, in the transaction that appends.
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
  entry_count constant integer := cardinality(space_ids);
  update_count constant integer := cardinality(updates);
  max_bytes constant bigint := perch.setting('max_update_bytes', 16777216);
  -- A variable of its own is taken apart once, a parameter at each look.
  payloads constant bytea[] := updates;
  authors constant text[] := user_ids;
  spaces constant text[] := space_ids;
  verdicts text[] := array_fill(null::text, array[update_count]);        -- of each update; null: accepted, 'again': not looked at
  seqs bigint[] := array_fill(null::bigint, array[update_count]);        -- its position
  counts bigint[] := array_fill(0::bigint, array[entry_count]);          -- of each document: its accepted updates, and their bytes
  bytes bigint[] := array_fill(0::bigint, array[entry_count]);
  previous bigint[] := array_fill(null::bigint, array[entry_count]);     -- its last position before ours; null: refused as PE410
  given bigint[] := revisions;
  queued boolean[] := array_fill(false, array[entry_count]);             -- whether it goes on the queue now
  found_count integer := 0;
  news boolean := false;                                                 -- whether others appended what the caller lacks
  queuing boolean := false;
  refusing integer[] := '{}';                                            -- documents of which an update was refused
  row record;
  made record;
  entry integer;
  ignored text;
begin
  if lock_timeout_ms is not null then
    ignored := set_config('lock_timeout', lock_timeout_ms::text, true);
  end if;

  if given is null then
    given := array(select perch.new_revision() from generate_series(1, entry_count));
  end if;

  for ordinal in 1 .. update_count loop
    entry := update_entries[ordinal];
    if entry = any (refusing) then
      verdicts[ordinal] := 'again';
      continue;
    elsif coalesce(authors[ordinal], '') = '' then
      verdicts[ordinal] := 'PE401';
    elsif octet_length(payloads[ordinal]) > max_bytes then
      verdicts[ordinal] := 'PE413';
    elsif spaces[entry] = '~' || authors[ordinal] or writable[ordinal] then
      null;  -- It is taken.
    elsif writable[ordinal] is not null then
      verdicts[ordinal] := 'PE403';
    -- By itself: it is the one condition that takes a query.
    elsif not exists (select from perch.space_members m
                       where m.space_id = spaces[entry] and m.user_id = authors[ordinal] and m.role in ('editor', 'owner')) then
      verdicts[ordinal] := 'PE403';
    end if;
    if verdicts[ordinal] is null then
      counts[entry] := counts[entry] + 1;
      bytes[entry] := bytes[entry] + octet_length(payloads[ordinal]);
    else
      refusing := refusing || entry;
    end if;
  end loop;

  for row in
    with locked as (
      select d.space_id, d.app_id, d.table_name, d.record_id, e.ordinal::integer as entry, e.updates, e.bytes,
             d.head_seq, e.revision, d.merged_seq > d.projected_seq as queued
        from unnest(space_ids, app_ids, table_names, record_ids, after_seqs, after_revisions, given, counts, bytes)
               with ordinality
               as e (space_id, app_id, table_name, record_id, after_seq, after_revision, revision, updates, bytes, ordinal)
        join perch.documents d
          on d.space_id = e.space_id and d.app_id = e.app_id and d.table_name = e.table_name and d.record_id = e.record_id
         -- The usual case is told without a call. Where the row was locked by others until now, this is asked again of what they left.
         and case when e.after_seq = d.merged_seq and e.after_revision = d.revision then true
                  else perch.has_position(d, e.after_seq, e.after_revision) end
       where e.updates > 0
       order by d.space_id, d.app_id, d.table_name, d.record_id
         for no key update of d)
    update perch.documents d
       set head_seq = d.head_seq + l.updates, merged_seq = d.head_seq + l.updates, revision = l.revision,
           tail_count = d.tail_count + l.updates, tail_bytes = d.tail_bytes + l.bytes
      from locked l
     where d.space_id = l.space_id and d.app_id = l.app_id and d.table_name = l.table_name and d.record_id = l.record_id
    returning l.entry, l.head_seq, l.queued
  loop
    found_count := found_count + 1;
    previous[row.entry] := row.head_seq;
    if after_seqs[row.entry] < row.head_seq then
      news := true;
    end if;
    -- A document that is ahead of its record is on the queue: it is taken off by whoever makes them equal, holding this row.
    if not row.queued then
      queued[row.entry] := true;
      queuing := true;
    end if;
  end loop;

  -- What the loop did not find is new, deleted, or elsewhere than the caller has it. New ones are made, again in the order of their keys.
  if found_count < entry_count then
    for row in
      select e.ordinal::integer as entry, coalesce(t.seq, 0) as deleted_at
        from unnest(space_ids, app_ids, table_names, record_ids, counts, previous) with ordinality
               as e (space_id, app_id, table_name, record_id, updates, previous, ordinal)
        left join perch.document_tombstones t
          on t.space_id = e.space_id and t.app_id = e.app_id and t.table_name = e.table_name and t.record_id = e.record_id
       where e.updates > 0 and e.previous is null
       order by e.space_id collate "C", e.app_id collate "C", e.table_name collate "C", e.record_id collate "C"
    loop
      entry := row.entry;
      if after_seqs[entry] = row.deleted_at and coalesce(after_revisions[entry], 0) = 0 then
        -- Made with no position taken before ours; somebody else may be making it at the same time, then this waits for their commit.
        insert into perch.documents as d
          (space_id, app_id, table_name, record_id, head_seq, merged_seq, projected_seq, snapshot_seq, tail_from, incarnation_seq,
           tail_count, tail_bytes, created_by, revision)
        values (space_ids[entry], app_ids[entry], table_names[entry], record_ids[entry],
                row.deleted_at + counts[entry], row.deleted_at + counts[entry], row.deleted_at, row.deleted_at, row.deleted_at, row.deleted_at,
                counts[entry], bytes[entry], user_ids[array_position(update_entries, entry)], given[entry])
        on conflict on constraint documents_pkey do update
          set head_seq = d.head_seq + excluded.tail_count, merged_seq = d.head_seq + excluded.tail_count, revision = excluded.revision,
              tail_count = d.tail_count + excluded.tail_count, tail_bytes = d.tail_bytes + excluded.tail_bytes
          where perch.has_position(d, excluded.incarnation_seq, 0)
        returning d.head_seq into made;
        if found then
          previous[entry] := made.head_seq - counts[entry];
          queued[entry] := true;
          queuing := true;
          news := news or after_seqs[entry] < previous[entry];
        end if;
      end if;
    end loop;
  end if;

  if news then
    return query
      select 'missed', e.ordinal::integer, t.seq, null::text, t.payload
        from unnest(space_ids, app_ids, table_names, record_ids, after_seqs, previous) with ordinality
               as e (space_id, app_id, table_name, record_id, after_seq, previous, ordinal)
        join perch.document_updates t
          on t.space_id = e.space_id and t.app_id = e.app_id and t.table_name = e.table_name and t.record_id = e.record_id
         and t.seq > e.after_seq and t.seq <= e.previous
       where e.after_seq < e.previous
       order by 2, 3;
  end if;

  for ordinal in 1 .. update_count loop
    entry := update_entries[ordinal];
    if verdicts[ordinal] is not null then
      continue;
    elsif previous[entry] is null then
      verdicts[ordinal] := 'PE410';
    else
      previous[entry] := previous[entry] + 1;
      seqs[ordinal] := previous[entry];
    end if;
  end loop;

  if not notify then
    ignored := set_config('perch.notify_later', 'on', true);
  end if;
  insert into perch.document_updates
    (space_id, app_id, table_name, record_id, seq, payload, ends, user_id, client_id, revision)
  select space_ids[u.entry], app_ids[u.entry], table_names[u.entry], record_ids[u.entry],
         u.seq, u.payload, u.ends, u.user_id, u.client_id, given[u.entry]
    from unnest(update_entries, seqs, updates, ends, user_ids, client_ids) as u (entry, seq, payload, ends, user_id, client_id)
   where u.seq is not null;
  if not notify then
    ignored := set_config('perch.notify_later', '', true);
  end if;

  if queuing then
    -- As in perch.enqueue_document: we hold the rows of the documents.
    insert into perch.document_queue (space_id, app_id, table_name, record_id, due_at)
    select e.space_id, e.app_id, e.table_name, e.record_id, clock_timestamp()
      from unnest(space_ids, app_ids, table_names, record_ids, queued) as e (space_id, app_id, table_name, record_id, queued)
     where e.queued
     order by e.space_id collate "C", e.app_id collate "C", e.table_name collate "C", e.record_id collate "C"
    on conflict do nothing;
  end if;

  kind := 'appended';
  for position in 1 .. update_count loop
    ordinal := position;
    seq := seqs[position];
    error := nullif(verdicts[position], 'again');
    return next;
  end loop;
end
$$;

comment on function perch.append_updates(text[], text[], text[], text[], bigint[], integer[], bytea[], text[], boolean[], text[], jsonb[], integer, boolean, bigint[], bigint[]) is
  'For perch_worker: appends decoded updates to the tails of documents. The first five arrays have an element for each document (after_seqs and after_revisions: the position that the caller has; without the latter only the numbers are compared; revisions: what is to identify the position that it then has, default: drawn here), the others one for each update: update_entries says to which document it belongs, 1-based; writable whether a token lets its author write there (null: perch.space_members decides), ends as in perch.document_updates. lock_timeout_ms: how long to wait for a document that somebody else has locked. notify: whether to notify on perch_documents; without, the caller does so soon after, by perch.notify_appends. Returns for each update of others that the caller lacks a row missed (ordinal: the document''s), then for each update a row appended (ordinal, and seq or the error PE401, PE403, PE413, or PE410 when the document is not, or not for certain, what the caller has: it was deleted, the database went back to an earlier state, or the tail does not reach back so far; neither for one that comes behind a refused one in its document and may build on it: it is to be given again, without that).';
