-- Lock order: the row of the document, then its writes, as perch.finish_inbox, which says why nothing is lacking.
create or replace function perch.finish_column_write(
  space_id text, app_id text, table_name text, record_id text, ordinal bigint, update bytea, ends jsonb,
  version jsonb, error jsonb default null
)
returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  entry perch.tail_append := row(1, space_id, app_id, table_name, record_id, null, null, perch.new_revision(),
    1, octet_length(finish_column_write.update), null, null)::perch.tail_append;
  document perch.documents;
  written perch.column_writes;
  position bigint;
begin
  document := perch.lock_document_row(entry);
  select w.* into written from perch.column_writes w
   where w.space_id = entry.space_id and w.app_id = entry.app_id and w.table_name = entry.table_name
     and w.record_id = entry.record_id and w.ordinal = finish_column_write.ordinal and w.placed is null
     for update;
  if document.space_id is null or written.space_id is null then
    return null;
  end if;
  position := document.merged_seq;
  if finish_column_write.update is not null then
    entry.after_seq := document.merged_seq;
    entry.after_revision := document.revision;
    -- Counts as a push, at no position of its own.
    position := (perch.append_to_tail(array[entry], array[row(1, 1, 0, null, finish_column_write.update,
      finish_column_write.ends, written.user_id, written.client_id, null)::perch.tail_update]))[1] + 1;
  end if;
  update perch.column_writes w
     set placed = position, ends = finish_column_write.version, error = finish_column_write.error
   where w.space_id = entry.space_id and w.app_id = entry.app_id and w.table_name = entry.table_name
     and w.record_id = entry.record_id and w.ordinal = finish_column_write.ordinal;
  -- What the document had not taken of these columns is nowhere to be seen any more.
  if finish_column_write.error is null then
    delete from perch.column_writes w
     where w.space_id = entry.space_id and w.app_id = entry.app_id and w.table_name = entry.table_name
       and w.record_id = entry.record_id and w.ordinal < finish_column_write.ordinal and w.error is not null
       and written.patch ?& array(select jsonb_object_keys(w.patch));
  end if;
  -- Where nothing was appended the columns are behind all the same: they show something that the document did not take.
  perform perch.enqueue_document(entry.space_id, entry.app_id, entry.table_name, entry.record_id);
  return position;
end
$$;
grant execute on function perch.finish_column_write to perch_worker;

comment on function perch.finish_column_write(text, text, text, text, bigint, bytea, jsonb, jsonb, jsonb) is
  'For perch_worker: ends one claimed write to columns. With an update (ends as in perch.document_updates) it goes to the tail, at the position returned; without, there was nothing new in it, or it failed (error). version: all that the columns show of the document with it. Null, with nothing done: the write is gone with its row, and what was made of it is of no use.';
