-- Lock order: the typed row, for which nothing is held; then the document, which is only tried, since an app may hold
-- that and want the row (docs/architecture.md, "The order of locks"). No counter: the write is captured.
--
-- The columns show one position of the document and nothing else, which row_documents names: both are written here
-- alone, under the lock of the row. (The version there, as long as the list of all who ever wrote, is noted only where
-- the tail does not say it any more: perch.fold_document.) What others wrote to the columns since (column_writes) is
-- not in the document before a worker has merged it; until then this waits, or their values would vanish from the
-- columns for a while. Who is about to write so is waited for at the row.
--
-- Nor does it write where the document did not take what was written to the columns: the rows are the app's, and what
-- it committed is not overwritten by something older.
--
-- What the table refuses goes the other way: the columns stay, and the document gets their values back, as an edit
-- that is based on the position which was refused. So typing goes on, nothing is stuck, and what was typed is in the
-- history. Whose edits are among what was refused is told so in their room (src/rooms/document-room.ts).
create or replace function perch.project_columns(
  relation perch.synced_relations, space_id text, record_id text, seq bigint, data jsonb, revision bigint,
  raises boolean
)
returns perch.documents
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  key constant perch.tail_append := row(1, space_id, relation.app_id, relation.table_name, record_id, null, null, null,
    null, null, null, null)::perch.tail_append;
  patience constant interval := '25 milliseconds';
  shown perch.row_documents;
  document perch.documents;
  "row" jsonb;
  written jsonb;
  wanted jsonb;
  author text;
  refusal jsonb;
  wrote boolean := false;
  code text;
  message text;
begin
  "row" := perch.lock_row(relation, record_id);
  document := perch.try_document_row(key, patience);
  select d.* into shown from perch.row_documents d
   where d.space_id = key.space_id and d.app_id = key.app_id and d.table_name = key.table_name
     and d.record_id = key.record_id;
  -- No document any more, another than the caller has, or one that has moved on and whose version here nobody knows.
  if "row" is null or shown.space_id is null or document.space_id is null
     or project_columns.seq < greatest(document.incarnation_seq, document.tail_from)
     or perch.has_position(document, project_columns.seq, project_columns.revision) is not true
     or exists (
       select from perch.column_writes w
        where w.space_id = key.space_id and w.app_id = key.app_id and w.table_name = key.table_name
          and w.record_id = key.record_id
          and (w.placed is null or w.placed > project_columns.seq or w.error is not null))
  then
    return null;
  end if;

  if project_columns.seq > shown.shown_seq then
    -- A column that is empty in another way than the document writes it stays so; and a number that a document cannot
    -- hold to its last digit stays what it is until somebody edits it.
    select json_object_agg(n.key, n.value)::jsonb into wanted
      from jsonb_each(project_columns.data) n
     where relation.documents ? n.key and "row" ? n.key and not perch.is_shown(n.value, "row" -> n.key)
       and not ("row" -> n.key = 'null' and n.value in ('""', '[]', '{}', '0'));
    if wanted is not null then
      select u.user_id into author from perch.document_updates u
       where u.space_id = key.space_id and u.app_id = key.app_id and u.table_name = key.table_name
         and u.record_id = key.record_id and u.seq <= project_columns.seq
       order by u.seq desc limit 1;
      begin
        written := perch.write_columns(relation, record_id, wanted, coalesce(author, document.created_by));
        if written is null then
          raise exception 'a trigger keeps the row as it is' using errcode = 'raise_exception';
        end if;
      exception when others then
        if raises or not perch.is_refusal(sqlstate) then
          raise;
        end if;
        get stacked diagnostics code = returned_sqlstate, message = message_text;
        written := "row";
        refusal := jsonb_build_object('code', code, 'message', message, 'seq', project_columns.seq,
          'columns', array(select jsonb_object_keys(wanted) order by 1));
      end;
      wrote := refusal is null;
      if refusal is not null then
        -- For the rooms of those who wrote it.
        perform pg_notify('perch_documents', (perch.document_notification(key.space_id, key.app_id, key.table_name,
          key.record_id, project_columns.seq)::jsonb || jsonb_build_object('refused_after', shown.shown_seq))::text);
      end if;
      -- What a trigger of the table made of it, or refused, the document gets as an edit.
      select json_object_agg(w.key, written -> w.key)::jsonb into wanted
        from jsonb_each(wanted) w where not perch.is_shown(w.value, written -> w.key);
      if wanted is not null then
        perform perch.add_column_write(key.space_id, key.app_id, key.table_name, key.record_id, wanted,
          perch.document_version(key.space_id, key.app_id, key.table_name, key.record_id, project_columns.seq));
      end if;
    end if;
    update perch.row_documents d
       set shown_seq = case when refusal is null then project_columns.seq else d.shown_seq end,
           shown_version = case when refusal is not null then d.shown_version end,
           refused = coalesce(refusal, case when wrote then null else d.refused end)
     where d.space_id = key.space_id and d.app_id = key.app_id and d.table_name = key.table_name
       and d.record_id = key.record_id;
    if refusal is null then
      -- The columns show what came of them.
      delete from perch.column_writes w
       where w.space_id = key.space_id and w.app_id = key.app_id and w.table_name = key.table_name
         and w.record_id = key.record_id and w.placed is not null;
    end if;
  end if;
  return document;
end
$$;
grant execute on function perch.project_columns to perch_worker;

comment on function perch.project_columns(perch.synced_relations, text, text, bigint, jsonb, bigint, boolean) is
  'Private. Writes what a document has at position seq (revision identifies it; data: its fields, or some) into the columns of its row, and into the document what the table makes of it or keeps instead. Returns the document, locked; null where nothing can be written now: the row or the document is gone or elsewhere, or what was written to the columns is to be merged first.';
