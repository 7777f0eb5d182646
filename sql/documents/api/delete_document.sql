-- Lock order: the document, what hangs on it, its record, and last the counter of the space (docs/architecture.md, "The
-- order of locks").
create or replace function perch.delete_document(app_id text, table_name text, record_id text,
  space_id text default null)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  space constant text := perch.require_space(delete_document.space_id, to_write => true);
  author constant text := perch.current_user_id();
  version jsonb;
  ended bigint;
  moment timestamptz;
  logged bigint;
begin
  perform perch.check_id(delete_document.record_id, 'record_id');
  if exists (select from perch.encrypted_tables t
              where t.app_id = delete_document.app_id and t.table_name = delete_document.table_name) then
    perform perch.delete_encrypted(space, delete_document.app_id, delete_document.table_name,
      delete_document.record_id);
    return;
  end if;
  perform perch.document_fields(delete_document.app_id, delete_document.table_name);

  -- From here nobody appends: what version names is all there was.
  perform from perch.documents d
    where d.space_id = space and d.app_id = delete_document.app_id
      and d.table_name = delete_document.table_name and d.record_id = delete_document.record_id
      for update;
  version := perch.document_version(space, delete_document.app_id, delete_document.table_name,
    delete_document.record_id);
  delete from perch.documents d
   where d.space_id = space and d.app_id = delete_document.app_id
     and d.table_name = delete_document.table_name and d.record_id = delete_document.record_id
  returning d.head_seq + 1 into ended;
  if ended is null then
    return;
  end if;
  insert into perch.document_tombstones as t (space_id, app_id, table_name, record_id, seq, version, deleted_by)
  values (space, delete_document.app_id, delete_document.table_name, delete_document.record_id, ended, version, author)
  on conflict on constraint document_tombstones_pkey do update
    set seq = excluded.seq, version = perch.merge_ends(t.version, excluded.version), deleted_by = excluded.deleted_by,
      deleted_at = clock_timestamp();
  delete from perch.document_snapshots x
   where x.space_id = space and x.app_id = delete_document.app_id
     and x.table_name = delete_document.table_name and x.record_id = delete_document.record_id;
  delete from perch.document_updates x
   where x.space_id = space and x.app_id = delete_document.app_id
     and x.table_name = delete_document.table_name and x.record_id = delete_document.record_id;
  delete from perch.document_history x
   where x.space_id = space and x.app_id = delete_document.app_id
     and x.table_name = delete_document.table_name and x.record_id = delete_document.record_id;
  delete from perch.document_inbox x
   where x.space_id = space and x.app_id = delete_document.app_id
     and x.table_name = delete_document.table_name and x.record_id = delete_document.record_id;
  delete from perch.document_queue x
   where x.space_id = space and x.app_id = delete_document.app_id
     and x.table_name = delete_document.table_name and x.record_id = delete_document.record_id;

  -- The record goes with it, and those who sync hear of it. A document that was never projected has no record.
  perform from perch.stored_records r
    where r.space_id = space and r.app_id = delete_document.app_id
      and r.table_name = delete_document.table_name and r.record_id = delete_document.record_id
      and not r.deleted
      for no key update;
  if found then
    moment := clock_timestamp();
    logged := perch.next_seq(space, moment);
    update perch.stored_records r
       set deleted = true, deleted_at = moment, latest_at = moment, data = '{}', long_data = null, long_fields = null,
           field_meta = '{}', size = null, seq = logged, updated_at = moment
     where r.space_id = space and r.app_id = delete_document.app_id
       and r.table_name = delete_document.table_name and r.record_id = delete_document.record_id;
    insert into perch.sync_changes (space_id, seq, app_id, table_name, record_id, op, at, user_id, origin, created_at)
    values (space, logged, delete_document.app_id, delete_document.table_name, delete_document.record_id, 'delete',
      moment, author, 'document', moment);
  end if;
  perform pg_notify('perch_documents', perch.document_notification(
    space, delete_document.app_id, delete_document.table_name, delete_document.record_id, ended));
end
$$;
grant execute on function perch.delete_document to perch_app;

comment on function perch.delete_document(text, text, text, text) is
  'Deletes a document: its record, its snapshot and its updates, in the caller''s transaction; the deletion is logged. A document that does not exist: nothing happens. A document made again under the id starts empty. An end-to-end encrypted one is deleted by an owner of the space, or by whoever alone wrote it. Errors: PE401, PE403, PE404 when the table is not declared, PE422.';
