create or replace function perch.push_update(
  app_id text, table_name text, record_id text, update bytea,
  space_id text default null, client_id text default null, op_id text default null
)
returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  space constant text := perch.require_space(push_update.space_id, to_write => true);
  max_bytes constant bigint := perch.setting('max_update_bytes', 16777216);
begin
  if perch.catches_undone() then
    begin
      return perch.push_update(app_id, table_name, record_id, update, space_id, client_id, op_id);
    exception when serialization_failure then
      perform perch.fail_undone(sqlerrm);
    end;
  end if;
  if octet_length(push_update.update) > max_bytes then
    perform perch.fail('PE413', format('the update is longer than %s bytes', max_bytes),
      jsonb_build_object('limit', 'max_update_bytes', 'max', max_bytes, 'got', octet_length(push_update.update)));
  end if;
  -- Only the envelope can be told here; the worker decodes the rest before anybody sees it.
  if push_update.update is null or octet_length(push_update.update) < 22 or substring(push_update.update
    from 1 for 4) <> convert_to('loro', 'UTF8') then
    perform perch.fail('PE422', 'the update is not a Loro update or snapshot', jsonb_build_object('argument', 'update'),
      'Pass what LoroDoc.export returned, as bytea.');
  end if;
  perform perch.check_id(push_update.record_id, 'record_id');
  if push_update.client_id is not null then
    perform perch.check_id(push_update.client_id, 'client_id');
  end if;
  perform perch.document_fields(push_update.app_id, push_update.table_name);
  return (perch.append_to_inbox(push_update.app_id, push_update.table_name, push_update.record_id, space, 'update',
    push_update.update, null, null, push_update.client_id, push_update.op_id)).seq;
end
$$;
grant execute on function perch.push_update to perch_app;

comment on function perch.push_update(text, text, text, bytea, text, text, text) is
  'Appends a Loro update (or snapshot) to a document, in the caller''s transaction; returns the document''s seq. It is pending until a worker has decoded and merged it; one that cannot be merged is set aside with its error and seen by nobody. The same op_id again returns the first seq. Errors: PE401, PE403, PE404 when the table is not declared, PE409 when the op_id was used for something else, PE413, PE422. Example: select perch.push_update(app_id => ''notes'', table_name => ''pages'', record_id => ''p1'', update => $1);';
