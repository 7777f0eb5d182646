-- Lock order: before the row of the document, and before any counter (docs/architecture.md, "The order of locks").
create or replace function perch.lock_document(app_id text, table_name text, record_id text, space_id text default null)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  space constant text := perch.require_space(lock_document.space_id, to_write => true);
begin
  if perch.catches_undone() then
    begin
      perform perch.lock_document(app_id, table_name, record_id, space_id);
      return;
    exception when serialization_failure then
      perform perch.fail_undone(sqlerrm);
    end;
  end if;
  perform perch.check_id(lock_document.app_id, 'app_id', 64);
  perform perch.check_id(lock_document.table_name, 'table_name', 128);
  perform perch.check_id(lock_document.record_id, 'record_id');
  perform perch.take_document_lock(space, lock_document.app_id, lock_document.table_name, lock_document.record_id,
    purpose => 'write', wait => true);
end
$$;
grant execute on function perch.lock_document to perch_app;

comment on function perch.lock_document(text, text, text, text) is
  'Locks a document until the end of the transaction; also one that does not exist yet. Whoever else asks for it waits; updates of Loro clients, which merge anyway, do not. Errors: PE401, PE403, PE422.';
