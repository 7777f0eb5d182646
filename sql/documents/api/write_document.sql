-- An append and its projection in one, for a writer who holds the row of the document (perch.open_in_transaction) and
-- has decoded the update.
--
-- Only who may decode documents may write to their tails, so this goes on as perch_worker: the caller's login has to be
-- a member of it. On an error the role goes back with everything else.
--
-- Lock order: the document (held already), its record; the counter of the space is only tried (docs/architecture.md,
-- "The order of locks").
create or replace function perch.write_document(
  app_id text, table_name text, record_id text, space_id text, after_seq bigint, update bytea, ends jsonb,
  client_id text, data jsonb, size bigint, is_whole boolean, after_revision bigint default null,
  revision bigint default null
)
returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
declare
  author constant text := perch.current_user_id();
  is_writable constant boolean := write_document.space_id = any (perch.writable_space_ids());
  role_before constant text := current_setting('role');
  max_bytes bigint;
  difference perch.record_difference;
  document perch.documents;
  entry perch.tail_append;
  placed bigint;
  relation perch.synced_relations;
  ignored text;
begin
  ignored := set_config('role', 'perch_worker', true);
  if perch.catches_undone() then
    begin
      ignored := set_config('role', role_before, true);
      return perch.write_document(app_id, table_name, record_id, space_id, after_seq, update, ends, client_id, data,
        size, is_whole, after_revision, revision);
    exception when serialization_failure then
      perform perch.fail_undone(sqlerrm);
    end;
  end if;
  if is_writable is not true then
    perform perch.fail('PE403', 'this user may not write this space',
      jsonb_build_object('space_id', write_document.space_id),
      'Its editors and owners write in it: have an owner let this user in, or list it in the token''s '
      'writable_space_ids, where tokens list spaces.');
  end if;
  relation := perch.document_relation(app_id, table_name);
  max_bytes := perch.setting('max_update_bytes', 16777216);
  if octet_length(write_document.update) > max_bytes then
    perform perch.fail('PE413', 'the update is over the limit',
      jsonb_build_object('limit', 'max_update_bytes', 'max', max_bytes, 'got', octet_length(write_document.update)));
  end if;

  entry := row(1, write_document.space_id, write_document.app_id, write_document.table_name, write_document.record_id,
    after_seq, after_revision, coalesce(write_document.revision, perch.new_revision()), 1,
    octet_length(write_document.update), author,
    case when relation.relation is null then write_document.size end)::perch.tail_append;
  document := perch.lock_document_row(entry);
  if document.space_id is null and is_whole then
    perform perch.make_documents(array[entry]);
    document := perch.lock_document_row(entry);
  end if;
  if relation.relation is not null then
    if document.merged_seq = after_seq and document.revision = coalesce(after_revision, document.revision)
       and (is_whole or document.projected_seq = document.merged_seq) then
      placed := (perch.append_to_tail(array[entry], array[row(1, 1, null, null, write_document.update,
        write_document.ends, author, write_document.client_id, null)::perch.tail_update]))[1] + 1;
      perform perch.project_document(write_document.space_id, write_document.app_id, write_document.table_name,
        write_document.record_id, placed, write_document.data, write_document.size, entry.revision, raises => true);
    end if;
    ignored := set_config('role', role_before, true);
    return placed;
  end if;
  difference := perch.compare_record(write_document.space_id, write_document.app_id, write_document.table_name,
    write_document.record_id, write_document.data, write_document.is_whole);
  if document.merged_seq = after_seq and document.revision = coalesce(after_revision, document.revision)
     and (is_whole or document.projected_seq = document.merged_seq and not difference.is_new)
  then
    placed := (perch.append_to_tail(array[entry],
      array[row(1, 1, null, null, write_document.update, write_document.ends, author,
             write_document.client_id, null)::perch.tail_update]))[1] + 1;
  end if;
  if placed is null then
    ignored := set_config('role', role_before, true);
    return null;
  end if;

  if difference.changed is not null then
    perform perch.show_record(write_document.space_id, write_document.app_id, write_document.table_name,
      write_document.record_id, difference, author, write_document.client_id, document.created_by);
  end if;
  if is_whole and document.tail_count < 1000 and document.tail_bytes < 262144 then
    -- There is one if the record was behind, which it then is no more. Behind a longer tail it may be there so that a
    -- worker folds that (perch.is_fold_due), who takes it off: else whoever writes without end would, each time,
    -- before.
    delete from perch.document_queue q
     where q.space_id = write_document.space_id and q.app_id = write_document.app_id
       and q.table_name = write_document.table_name and q.record_id = write_document.record_id;
  end if;
  if perch.is_fold_due(document, octet_length(write_document.update)) then
    perform perch.enqueue_document(
      write_document.space_id, write_document.app_id, write_document.table_name, write_document.record_id);
  end if;
  ignored := set_config('role', role_before, true);
  return placed;
end
$$;
grant execute on function perch.write_document to perch_app;

comment on function perch.write_document(text, text, text, text, bigint, bytea, jsonb, text, jsonb, bigint, boolean, bigint, bigint) is
  'For DocumentStore, whose login is a member of perch_worker as well: appends a decoded update of the current user to a document that is at after_seq, and writes what it leads to into the record and the log: data, all fields (is_whole) or those the update changed; size: the bytes of the whole as JSON text. ends: as in perch.document_updates. after_revision: what identifies after_seq (null: only the number is compared); revision: what is to identify the new position (default: drawn here). Returns the update''s position; null, with nothing done, when the document is not at after_seq, or not all fields were given and the record is behind. Errors: PE403, PE413, 42501 when the login is no member of perch_worker.';
