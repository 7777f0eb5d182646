-- Lock order: the row of the document, then its items (docs/architecture.md, "The order of locks"). Before it the
-- caller holds the lock for merging alone, so its wait for the row is part of no cycle.
--
-- The update was made on a copy that the same transaction brought to what the database has; so it lacks nothing it
-- builds on: that cannot go back, or away (perch.delete_document deletes the item, too), while the transaction lasts.
create or replace function perch.finish_inbox(
  space_id text, app_id text, table_name text, record_id text, seq bigint, update bytea, error jsonb,
    ends jsonb default null
)
returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  entry perch.tail_append := row(1, space_id, app_id, table_name, record_id, null, null, perch.new_revision(),
    1, octet_length(finish_inbox.update), null, null)::perch.tail_append;
  document perch.documents;
  item perch.document_inbox;
  placed bigint;
begin
  document := perch.lock_document_row(entry);
  if finish_inbox.error is not null then
    update perch.document_inbox i set status = 'rejected', error = finish_inbox.error
     where i.space_id = finish_inbox.space_id and i.app_id = finish_inbox.app_id
       and i.table_name = finish_inbox.table_name and i.record_id = finish_inbox.record_id
       and i.seq = finish_inbox.seq and i.status = 'pending';
    return null;
  end if;

  delete from perch.document_inbox i
   where i.space_id = finish_inbox.space_id and i.app_id = finish_inbox.app_id
     and i.table_name = finish_inbox.table_name and i.record_id = finish_inbox.record_id
     and i.seq = finish_inbox.seq and i.status = 'pending'
  returning i.* into item;
  if not found or finish_inbox.update is null then
    return null;
  end if;

  entry.after_seq := document.merged_seq;
  entry.after_revision := document.revision;
  placed := (perch.append_to_tail(array[entry], array[row(1, 1, item.seq, nullif(item.revision, 0), finish_inbox.update,
           finish_inbox.ends, item.user_id, item.client_id, item.actor)::perch.tail_update]))[1] + 1;
  return placed;
end
$$;
grant execute on function perch.finish_inbox to perch_worker;

comment on function perch.finish_inbox(text, text, text, text, bigint, bytea, jsonb, jsonb) is
  'For perch_worker: ends one claimed item. With an update: it goes to the tail, at the position returned (ends as in perch.document_updates). With an error: it is set aside. With neither: there was nothing new in it.';
