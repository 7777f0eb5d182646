-- The ordinal is taken while the records are locked: the sequencer goes by it (perch.number_captured).
--
-- captured_at is the time of the push, as the created_at of the entry will be: by which, and its op_id, a repeated push
-- finds it in the log. Until then the receipt says that it has no number.
create or replace function perch.capture_changes(
  changes perch.change[], app_id text, client_id text, author text, now timestamptz
)
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  insert into perch.captured_changes
    (ordinal, nth, txid, space_id, app_id, table_name, record_id, op, new_row, user_id, client_id, op_id, captured_at,
     at, deleted_at, field_meta, schema_version, actor, origin, size)
  select o.taken, e.nth, pg_current_xact_id(), (e.change).space_id, capture_changes.app_id, (e.change).table_name,
         (e.change).record_id, (e.change).op, e.data, author, capture_changes.client_id, (e.change).op_id,
         capture_changes.now, (e.change).at, e.deleted_at, e.field_meta, (e.change).schema_version, (e.change).actor,
         (e.change).origin, e.size
    from (select nextval('perch.capture_ordinal') offset 0) o (taken)
   cross join perch.entry_contents(changes, capture_changes.app_id) e;

  update perch.push_receipts r
     set result = jsonb_build_object('space_id', c.space_id, 'seq', null, 'txid', pg_current_xact_id()::text)
    from unnest(changes) c
   where c.op_id is not null and r.space_id = perch.personal_space_id(author) and r.op_id = c.op_id;

  perform perch.notify_unnumbered(array(select c.space_id from unnest(changes) c));
end
$$;

comment on function perch.capture_changes(perch.change[], text, text, text, timestamptz) is
  'Private. Leaves changes, whose records the caller has written, to the sequencer.';
