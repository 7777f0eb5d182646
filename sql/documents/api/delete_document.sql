-- Lock order: the document, what hangs on it, its record; the counter of the space is only tried
-- (docs/architecture.md, "The order of locks").
create or replace function perch.delete_document(app_id text, table_name text, record_id text,
  space_id text default null)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  space constant text := perch.require_space(delete_document.space_id, to_write => true);
  author constant text := perch.current_user_id();
  moment timestamptz;
  logged bigint;
begin
  if perch.catches_undone() then
    begin
      perform perch.delete_document(app_id, table_name, record_id, space_id);
      return;
    exception when serialization_failure then
      perform perch.fail_undone(sqlerrm);
    end;
  end if;
  perform perch.check_id(delete_document.record_id, 'record_id');
  if exists (select from perch.encrypted_tables t
              where t.app_id = delete_document.app_id and t.table_name = delete_document.table_name) then
    perform perch.delete_encrypted(space, delete_document.app_id, delete_document.table_name,
      delete_document.record_id);
    return;
  end if;
  perform perch.document_fields(delete_document.app_id, delete_document.table_name);

  if (perch.document_relation(delete_document.app_id, delete_document.table_name)).relation is not null then
    perform perch.fail('PE422', format('%s is a synced table: its documents end with their rows',
      delete_document.table_name), jsonb_build_object('table', delete_document.table_name),
      'Delete the row, by SQL or by perch.push.');
  end if;

  if perch.end_document(space, delete_document.app_id, delete_document.table_name, delete_document.record_id, author)
     is null then
    return;
  end if;

  -- The record goes with it, and those who sync hear of it. A document that was never projected has no record.
  perform from perch.stored_records r
    where r.space_id = space and r.app_id = delete_document.app_id
      and r.table_name = delete_document.table_name and r.record_id = delete_document.record_id
      and not r.deleted
      for no key update;
  if found then
    moment := clock_timestamp();
    logged := perch.log_document(space, delete_document.app_id, delete_document.table_name, delete_document.record_id,
      'delete', null, author, null, moment);
    update perch.stored_records r
       set deleted = true, deleted_at = moment, latest_at = moment, data = '{}', long_data = null, long_fields = null,
           field_meta = '{}', size = null, seq = coalesce(logged, r.seq), updated_at = moment
     where r.space_id = space and r.app_id = delete_document.app_id
       and r.table_name = delete_document.table_name and r.record_id = delete_document.record_id;
  end if;
end
$$;
grant execute on function perch.delete_document to perch_app;

comment on function perch.delete_document(text, text, text, text) is
  'Deletes a document: its record, its snapshot and its updates, in the caller''s transaction; the deletion is logged. A document that does not exist: nothing happens. A document made again under the id starts empty. An end-to-end encrypted one is deleted by an owner of the space, or by whoever alone wrote it. Errors: PE401, PE403, PE404 when the table is not declared, PE422.';
