-- One call for everything that waits, over all documents: one statement, one commit, one ring a document.
--
-- Locks: the rows of the documents, in the order of their keys, so that two calls cannot deadlock; held until commit, so that
-- positions are in commit order. Hence "missed" is complete: it is read while the row is locked, so no update below our
-- positions can appear later.
--
-- Access: this runs with the rights of the worker, whose policies show it everything; so it checks each author itself, by the
-- same rules as perch.set_context, in the transaction that appends.
create or replace function perch.append_updates(
  space_ids text[], app_ids text[], table_names text[], record_ids text[], after_seqs bigint[],
  update_entries integer[], updates bytea[], user_ids text[], writable boolean[], client_ids text[]
)
returns table (kind text, ordinal integer, seq bigint, error text, payload bytea)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  entry record;
  accepted integer[];
  accepted_bytes bigint;
  position record;
  deleted_at bigint;
  max_bytes constant bigint := perch.setting('max_update_bytes', 16777216);
begin
  for entry in
    select e.space_id, e.app_id, e.table_name, e.record_id, e.after_seq, e.ordinal::integer
      from unnest(space_ids, app_ids, table_names, record_ids, after_seqs) with ordinality
        as e (space_id, app_id, table_name, record_id, after_seq, ordinal)
     order by e.space_id collate "C", e.app_id collate "C", e.table_name collate "C", e.record_id collate "C"
  loop
    select coalesce(array_agg(c.ordinal order by c.ordinal) filter (where c.verdict is null), '{}'),
           coalesce(sum(octet_length(c.payload)) filter (where c.verdict is null), 0)
      into accepted, accepted_bytes
      from (
        select u.ordinal::integer, u.payload,
               case
                 when coalesce(u.user_id, '') = '' then 'PE401'
                 when octet_length(u.payload) > max_bytes then 'PE413'
                 when entry.space_id = '~' || u.user_id then null
                 when u.writable then null
                 when u.writable is null and exists (
                   select from perch.space_members m
                    where m.space_id = entry.space_id and m.user_id = u.user_id and m.role in ('editor', 'owner')) then null
                 else 'PE403'
               end as verdict
          from unnest(update_entries, updates, user_ids, writable) with ordinality as u (entry, payload, user_id, writable, ordinal)
         where u.entry = entry.ordinal
      ) c;

    -- Refused ones first: they need no lock.
    return query
      select 'appended', u.ordinal::integer, null::bigint,
             case when coalesce(u.user_id, '') = '' then 'PE401' when octet_length(u.payload) > max_bytes then 'PE413' else 'PE403' end,
             null::bytea
        from unnest(update_entries, updates, user_ids) with ordinality as u (entry, payload, user_id, ordinal)
       where u.entry = entry.ordinal and u.ordinal <> all (accepted);
    continue when accepted = '{}';

    update perch.documents d
       set head_seq = d.head_seq + cardinality(accepted),
           merged_seq = d.head_seq + cardinality(accepted),
           tail_count = d.tail_count + cardinality(accepted),
           tail_bytes = d.tail_bytes + accepted_bytes
     where d.space_id = entry.space_id and d.app_id = entry.app_id and d.table_name = entry.table_name and d.record_id = entry.record_id
       and d.life_seq <= entry.after_seq
    returning d.head_seq - cardinality(accepted) as previous, d.projection_bytes, d.tail_from into position;

    if not found then
      -- A document that is new, or that was deleted (and perhaps made again) behind the back of a writer who has it open.
      select coalesce(max(t.seq), 0) into deleted_at from perch.document_tombstones t
       where t.space_id = entry.space_id and t.app_id = entry.app_id and t.table_name = entry.table_name and t.record_id = entry.record_id;
      if entry.after_seq = deleted_at then
        insert into perch.documents as d
          (space_id, app_id, table_name, record_id, head_seq, merged_seq, projected_seq, snapshot_seq, tail_from, life_seq, tail_count, tail_bytes, created_by)
        values (entry.space_id, entry.app_id, entry.table_name, entry.record_id,
                deleted_at + cardinality(accepted), deleted_at + cardinality(accepted), deleted_at, deleted_at, deleted_at, deleted_at,
                cardinality(accepted), accepted_bytes, user_ids[accepted[1]])
        on conflict on constraint documents_pkey do update
          set head_seq = d.head_seq + cardinality(accepted),
              merged_seq = d.head_seq + cardinality(accepted),
              tail_count = d.tail_count + cardinality(accepted),
              tail_bytes = d.tail_bytes + accepted_bytes
          where d.life_seq <= entry.after_seq
        returning d.head_seq - cardinality(accepted) as previous, d.projection_bytes, d.tail_from into position;
      end if;
      if position.previous is null then
        return query select 'appended', o, null::bigint, 'PE410', null::bytea from unnest(accepted) o;
        continue;
      end if;
    end if;
    if entry.after_seq < position.tail_from then
      -- Some of what the writer missed is in the snapshot only. Our update is safe; the writer reads the document anew.
      return query select 'missed', entry.ordinal, null::bigint, 'PE410', null::bytea;
    else
      return query
        select 'missed', entry.ordinal, t.seq, null, t.payload
          from perch.document_updates t
         where t.space_id = entry.space_id and t.app_id = entry.app_id and t.table_name = entry.table_name and t.record_id = entry.record_id
           and t.seq > entry.after_seq and t.seq <= position.previous
         order by t.seq;
    end if;

    insert into perch.document_updates (space_id, app_id, table_name, record_id, seq, payload, user_id, client_id)
    select entry.space_id, entry.app_id, entry.table_name, entry.record_id, position.previous + o.n, updates[o.ordinal], user_ids[o.ordinal], client_ids[o.ordinal]
      from unnest(accepted) with ordinality as o (ordinal, n);
    perform perch.enqueue_document(entry.space_id, entry.app_id, entry.table_name, entry.record_id, perch.projection_delay(position.projection_bytes));

    return query select 'appended', o.ordinal, position.previous + o.n, null, null::bytea
                   from unnest(accepted) with ordinality as o (ordinal, n);
    position := null;
  end loop;
end
$$;

comment on function perch.append_updates(text[], text[], text[], text[], bigint[], integer[], bytea[], text[], boolean[], text[]) is
  'For perch_worker: appends decoded updates to the tails of documents. The first five arrays have an element for each document (after_seqs: the position that the caller has), the others one for each update: update_entries says to which document it belongs, 1-based; writable whether a token lets its author write there (null: perch.space_members decides). Returns for each update a row appended (ordinal, and seq or the error PE401, PE403, PE413, or PE410 when the document was deleted meanwhile), and for each update of others that the caller lacks a row missed (ordinal: the document''s; seq null and PE410: read the document anew).';
