-- Lock order: the row of the document, then its items (docs/architecture.md, "The order of locks"). Before it the caller holds the
-- lock for merging alone, so its wait for the row is part of no cycle.
--
-- The update was made on a copy that the same transaction brought to what the database has; so it lacks nothing it builds on: that cannot go back, or away
-- (perch.delete_document deletes the item, too), while the transaction lasts.
create or replace function perch.finish_inbox(space_id text, app_id text, table_name text, record_id text, seq bigint, update bytea, error jsonb, ends jsonb default null)
returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  item perch.document_inbox;
  placed bigint;
  given constant bigint := perch.new_revision();
begin
  -- First the row of the document, as every writer does.
  perform from perch.documents d
    where d.space_id = finish_inbox.space_id and d.app_id = finish_inbox.app_id
      and d.table_name = finish_inbox.table_name and d.record_id = finish_inbox.record_id
      for no key update;
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

  update perch.documents d
     set head_seq = d.head_seq + 1, merged_seq = d.head_seq + 1, revision = given,
         tail_count = d.tail_count + 1, tail_bytes = d.tail_bytes + octet_length(finish_inbox.update)
   where d.space_id = finish_inbox.space_id and d.app_id = finish_inbox.app_id
     and d.table_name = finish_inbox.table_name and d.record_id = finish_inbox.record_id
  returning d.head_seq into placed;
  insert into perch.document_updates (space_id, app_id, table_name, record_id, seq, pushed_seq, payload, ends, user_id, client_id, actor,
    revision, pushed_revision)
  values (item.space_id, item.app_id, item.table_name, item.record_id, placed, item.seq, finish_inbox.update, finish_inbox.ends,
          item.user_id, item.client_id, item.actor, given, nullif(item.revision, 0));
  perform perch.enqueue_document(item.space_id, item.app_id, item.table_name, item.record_id);
  return placed;
end
$$;

comment on function perch.finish_inbox(text, text, text, text, bigint, bytea, jsonb, jsonb) is
  'For perch_worker: ends one claimed item. With an update: it goes to the tail, at the position returned (ends as in perch.document_updates). With an error: it is set aside. With neither: there was nothing new in it.';
