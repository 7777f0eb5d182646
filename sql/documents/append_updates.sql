-- One call for everything that waits, over all documents: one statement, one commit, one ring a document; seven statements
-- inside, however many documents and updates there are.
--
-- Locks: the rows of the documents, in the order of their keys, so that two calls cannot deadlock; held until commit, so that
-- positions are in commit order. Hence "missed" is complete: it is read while the row is locked, so no update below our
-- positions can appear later.
--
-- Access: this runs with the rights of the worker, whose policies show it everything; so it checks each author itself, by the
-- same rules as perch.set_context, in the transaction that appends.
create or replace function perch.append_updates(
  space_ids text[], app_ids text[], table_names text[], record_ids text[], after_seqs bigint[],
  update_entries integer[], updates bytea[], user_ids text[], writable boolean[], client_ids text[],
  ends jsonb[] default null
)
returns table (kind text, ordinal integer, seq bigint, error text, payload bytea)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
-- Planning anew for each call would cost as much as the call.
set plan_cache_mode = force_generic_plan
as $$
declare
  entry_count constant integer := cardinality(space_ids);
  max_bytes constant bigint := perch.setting('max_update_bytes', 16777216);
  verdicts text[];                                          -- of each update; null: accepted
  counts bigint[] := array_fill(0::bigint, array[entry_count]);   -- of each document: its accepted updates, and their bytes
  bytes bigint[] := array_fill(0::bigint, array[entry_count]);
  previous bigint[] := array_fill(null::bigint, array[entry_count]); -- its last position before ours; null: refused as PE410
  tail_from bigint[] := array_fill(0::bigint, array[entry_count]);
  projection_bytes bigint[] := array_fill(0::bigint, array[entry_count]);
  found_entries integer[] := '{}';
  row record;
  made record;
  entry integer;
begin
  verdicts := array(
    select case
             when coalesce(u.user_id, '') = '' then 'PE401'
             when octet_length(u.payload) > max_bytes then 'PE413'
             when space_ids[u.entry] = '~' || u.user_id or u.writable then null
             when u.writable is null and exists (
               select from perch.space_members m
                where m.space_id = space_ids[u.entry] and m.user_id = u.user_id and m.role in ('editor', 'owner')) then null
             else 'PE403'
           end
      from unnest(update_entries, updates, user_ids, writable) with ordinality as u (entry, payload, user_id, writable, ordinal)
     order by u.ordinal);
  for ordinal in 1 .. cardinality(verdicts) loop
    if verdicts[ordinal] is null then
      entry := update_entries[ordinal];
      counts[entry] := counts[entry] + 1;
      bytes[entry] := bytes[entry] + octet_length(updates[ordinal]);
    end if;
  end loop;

  for row in
    select e.ordinal::integer as entry, d.head_seq, d.life_seq, d.tail_from, d.projection_bytes
      from unnest(space_ids, app_ids, table_names, record_ids, counts) with ordinality
             as e (space_id, app_id, table_name, record_id, updates, ordinal)
      join perch.documents d
        on d.space_id = e.space_id and d.app_id = e.app_id and d.table_name = e.table_name and d.record_id = e.record_id
     where e.updates > 0
     order by d.space_id, d.app_id, d.table_name, d.record_id
       for no key update of d
  loop
    tail_from[row.entry] := row.tail_from;
    projection_bytes[row.entry] := row.projection_bytes;
    -- A document that was deleted and made again behind the back of a writer who has the old life open takes nothing of it.
    if after_seqs[row.entry] >= row.life_seq then
      previous[row.entry] := row.head_seq;
    else
      counts[row.entry] := 0;
    end if;
    found_entries := found_entries || row.entry;
  end loop;

  -- What the loop did not find is new, or deleted. New ones are made, again in the order of their keys.
  if cardinality(found_entries) < entry_count then
    for row in
      select e.ordinal::integer as entry, coalesce(t.seq, 0) as deleted_at
        from unnest(space_ids, app_ids, table_names, record_ids, counts) with ordinality
               as e (space_id, app_id, table_name, record_id, updates, ordinal)
        left join perch.document_tombstones t
          on t.space_id = e.space_id and t.app_id = e.app_id and t.table_name = e.table_name and t.record_id = e.record_id
       where e.updates > 0 and e.ordinal <> all (found_entries)
       order by e.space_id collate "C", e.app_id collate "C", e.table_name collate "C", e.record_id collate "C"
    loop
      entry := row.entry;
      if after_seqs[entry] = row.deleted_at then
        -- Made with no position taken yet; somebody else may be making it at the same time, then this waits for their commit.
        insert into perch.documents as d
          (space_id, app_id, table_name, record_id, head_seq, merged_seq, projected_seq, snapshot_seq, tail_from, life_seq, created_by)
        values (space_ids[entry], app_ids[entry], table_names[entry], record_ids[entry],
                row.deleted_at, row.deleted_at, row.deleted_at, row.deleted_at, row.deleted_at, row.deleted_at,
                user_ids[array_position(update_entries, entry)])
        on conflict on constraint documents_pkey do update set head_seq = d.head_seq where d.life_seq <= excluded.life_seq
        returning d.head_seq, d.tail_from into made;
        if found then
          previous[entry] := made.head_seq;
          tail_from[entry] := made.tail_from;
        end if;
      end if;
      if previous[entry] is null then
        counts[entry] := 0;
      end if;
    end loop;
  end if;

  update perch.documents d
     set head_seq = d.head_seq + e.updates, merged_seq = d.head_seq + e.updates,
         tail_count = d.tail_count + e.updates, tail_bytes = d.tail_bytes + e.bytes
    from unnest(space_ids, app_ids, table_names, record_ids, counts, bytes) as e (space_id, app_id, table_name, record_id, updates, bytes)
   where d.space_id = e.space_id and d.app_id = e.app_id and d.table_name = e.table_name and d.record_id = e.record_id
     and e.updates > 0;

  return query
    select 'missed', e.ordinal::integer, t.seq, null::text, t.payload
      from unnest(space_ids, app_ids, table_names, record_ids, after_seqs, previous, tail_from) with ordinality
             as e (space_id, app_id, table_name, record_id, after_seq, previous, tail_from, ordinal)
      join perch.document_updates t
        on t.space_id = e.space_id and t.app_id = e.app_id and t.table_name = e.table_name and t.record_id = e.record_id
       and t.seq > e.after_seq and t.seq <= e.previous
     where e.after_seq < e.previous and e.after_seq >= e.tail_from
    union all
    -- Some of what the writer missed is in the snapshot only. Our updates are safe; the writer reads the document anew.
    select 'missed', e.ordinal::integer, null, 'PE410', null
      from unnest(after_seqs, previous, tail_from) with ordinality as e (after_seq, previous, tail_from, ordinal)
     where e.previous is not null and e.after_seq < e.tail_from
     order by 2, 3;

  return query
    with placed as (
      select u.ordinal::integer, u.entry, u.payload, u.user_id, u.client_id,
             coalesce(u.verdict, case when previous[u.entry] is null then 'PE410' end) as verdict,
             previous[u.entry] + row_number() over (partition by u.entry, u.verdict is null order by u.ordinal) as seq
        from unnest(update_entries, updates, user_ids, client_ids, verdicts) with ordinality
               as u (entry, payload, user_id, client_id, verdict, ordinal)
    ), stored as (
      insert into perch.document_updates (space_id, app_id, table_name, record_id, seq, payload, ends, user_id, client_id)
      select space_ids[p.entry], app_ids[p.entry], table_names[p.entry], record_ids[p.entry], p.seq, p.payload, ends[p.ordinal], p.user_id, p.client_id
        from placed p
       where p.verdict is null
       order by p.ordinal
    ), queued as (
      -- As in perch.enqueue_document: we hold the rows of the documents.
      insert into perch.document_queue (space_id, app_id, table_name, record_id, due_at)
      select e.space_id, e.app_id, e.table_name, e.record_id, clock_timestamp() + perch.projection_delay(e.projection_bytes)
        from unnest(space_ids, app_ids, table_names, record_ids, counts, projection_bytes)
               as e (space_id, app_id, table_name, record_id, updates, projection_bytes)
       where e.updates > 0
       order by e.space_id collate "C", e.app_id collate "C", e.table_name collate "C", e.record_id collate "C"
      on conflict do nothing
    )
    select 'appended', p.ordinal, case when p.verdict is null then p.seq end, p.verdict, null::bytea
      from placed p
     order by p.ordinal;
end
$$;

comment on function perch.append_updates(text[], text[], text[], text[], bigint[], integer[], bytea[], text[], boolean[], text[], jsonb[]) is
  'For perch_worker: appends decoded updates to the tails of documents. The first five arrays have an element for each document (after_seqs: the position that the caller has), the others one for each update: update_entries says to which document it belongs, 1-based; writable whether a token lets its author write there (null: perch.space_members decides), ends as in perch.document_updates. Returns for each update of others that the caller lacks a row missed (ordinal: the document''s; seq null and PE410: read the document anew), then for each update a row appended (ordinal, and seq or the error PE401, PE403, PE413, or PE410 when the document was deleted meanwhile).';
