-- The one writer of tails. One statement, however many documents and updates there are.
--
-- Lock order: the rows of the documents, by key (docs/architecture.md, "The order of locks"). They are held until
-- commit, so that positions are in commit order, without gaps.
--
-- No update is stored without what it builds on: each document's row, once it is locked, is compared with what the
-- caller has of the document (perch.has_position). Where the database went back, or gave the position to something
-- else, nothing is appended.
create or replace function perch.append_to_tail(
  documents perch.tail_append[], updates perch.tail_update[], notify boolean default true
)
returns bigint[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  previous bigint[] := '{}';
  is_queuing boolean[] := '{}';
  moved record;
begin
  for moved in
    with locked as (
      select e.*, d.head_seq, d.merged_seq > d.projected_seq as is_queued
        from unnest(append_to_tail.documents) e
        join perch.documents d
          on d.space_id = e.space_id and d.app_id = e.app_id and d.table_name = e.table_name
            and d.record_id = e.record_id
         -- The usual case is told without a call. Where others had the row until now, this is asked again of what they
         -- left.
         and case when e.after_seq = d.merged_seq and e.after_revision = d.revision then true
                  else perch.has_position(d, e.after_seq, e.after_revision) end
       order by d.space_id, d.app_id, d.table_name, d.record_id
         for no key update of d
    )
    update perch.documents d
       set head_seq = d.head_seq + l.updates, merged_seq = d.head_seq + l.updates, revision = l.revision,
           tail_count = d.tail_count + l.updates, tail_bytes = d.tail_bytes + l.bytes,
           projected_seq = case when l.projection_bytes is null then d.projected_seq else d.head_seq + l.updates end,
           projection_bytes = coalesce(l.projection_bytes, d.projection_bytes)
      from locked l
     where d.space_id = l.space_id and d.app_id = l.app_id and d.table_name = l.table_name and d.record_id = l.record_id
    returning l.entry, l.head_seq, l.projection_bytes is null and not l.is_queued as is_queuing,
              case when append_to_tail.notify then pg_notify('perch_documents',
                perch.document_notification(d.space_id, d.app_id, d.table_name, d.record_id,
                  d.head_seq))::text end as notified
  loop
    previous[moved.entry] := moved.head_seq;
    if moved.is_queuing then
      is_queuing[moved.entry] := true;
    end if;
  end loop;

  insert into perch.document_updates
    (space_id, app_id, table_name, record_id, seq, pushed_seq, pushed_revision, payload, ends, user_id, client_id,
      actor, revision)
  select e.space_id, e.app_id, e.table_name, e.record_id, previous[u.entry] + u.nth,
         u.pushed_seq, u.pushed_revision, u.payload, u.ends, u.user_id, u.client_id, u.actor, e.revision
    from unnest(append_to_tail.documents) e
    join unnest(append_to_tail.updates) u on u.entry = e.entry
   where previous[e.entry] is not null
   order by u.entry, u.nth;

  -- A document that is ahead of its record is on the queue: it is taken off by whoever makes them equal, holding the
  -- row.
  if is_queuing <> '{}' then
    insert into perch.document_queue (space_id, app_id, table_name, record_id, due_at)
    select e.space_id, e.app_id, e.table_name, e.record_id, clock_timestamp()
      from unnest(append_to_tail.documents) e
     where is_queuing[e.entry]
     order by e.space_id, e.app_id, e.table_name, e.record_id
    on conflict do nothing;
  end if;
  return previous;
end
$$;
grant execute on function perch.append_to_tail to perch_worker;

comment on function perch.append_to_tail(perch.tail_append[], perch.tail_update[], boolean) is
  'Private. Appends decoded updates to the tails of documents that exist, puts them on the queue to be projected (unless the caller does that), and notifies on perch_documents. Returns, by entry, the last position of each document before, from which its updates count on; null for one that is not, or not for certain, at after_seq.';
