-- The number is taken while the caller has the row locked. The notification names no position of the document, since
-- none is taken: that is the worker's to do.
--
-- Runs as perch_owner, whose the sequence is.
create or replace function perch.add_column_write(
  space_id text, app_id text, table_name text, record_id text, patch jsonb, base jsonb
)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  insert into perch.column_writes (space_id, app_id, table_name, record_id, ordinal, patch, base, user_id, client_id)
  values (add_column_write.space_id, add_column_write.app_id, add_column_write.table_name, add_column_write.record_id,
          nextval('perch.column_write_ordinal'), add_column_write.patch, add_column_write.base,
          coalesce(left(nullif(current_setting('app.current_user_id', true), ''), 255), ''),
          left(nullif(current_setting('perch.push_client_id', true), ''), 256));
  if not perch.may_be_prepared() then
    perform pg_notify('perch_documents', perch.document_notification(add_column_write.space_id, add_column_write.app_id,
      add_column_write.table_name, add_column_write.record_id, 0));
  end if;
end
$$;
grant execute on function perch.add_column_write to perch_worker;

comment on function perch.add_column_write(text, text, text, text, jsonb, jsonb) is
  'Private. Leaves what was written to columns that are a document (patch: their new values; null: the row was deleted) for the workers to merge, as based on a version (base; null: what the columns showed).';
