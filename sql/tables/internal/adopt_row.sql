-- Lock order: the typed row, then its document (docs/architecture.md, "The order of locks").
--
-- A row becomes a document when somebody first wants it as one: an empty document, of which the columns show the
-- beginning, and behind that a write of all that is in them, which a worker merges like any other
-- (perch.claim_column_writes). The row is locked meanwhile, so no other write comes between, and of two who want it the
-- second finds it done.
create or replace function perch.adopt_row(
  space_id text, app_id text, table_name text, record_id text, lock_timeout_ms integer default null
)
returns text
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  relation constant perch.synced_relations := perch.document_relation(app_id, table_name);
  "row" jsonb;
  began bigint;
  content jsonb;
begin
  if relation.relation is null then
    return null;
  end if;
  if lock_timeout_ms is not null then
    perform set_config('lock_timeout', lock_timeout_ms::text, true);
  end if;
  if not perch.is_row_document(space_id, app_id, table_name, record_id) then
    "row" := perch.lock_row(relation, record_id);
    if "row" is null or (perch.space_of_rows(relation, array["row"]))[1] is distinct from space_id then
      return 'missing';
    end if;
    if not perch.is_row_document(space_id, app_id, table_name, record_id) then
      -- Of a row that was there before under this key.
      perform perch.end_document(space_id, app_id, table_name, record_id, '');
      delete from perch.column_writes w
       where w.space_id = adopt_row.space_id and w.app_id = adopt_row.app_id
         and w.table_name = adopt_row.table_name and w.record_id = adopt_row.record_id;
      select coalesce(max(t.seq), 0) into began from perch.document_tombstones t
       where t.space_id = adopt_row.space_id and t.app_id = adopt_row.app_id
         and t.table_name = adopt_row.table_name and t.record_id = adopt_row.record_id;
      perform perch.make_documents(array[row(1, space_id, app_id, table_name, record_id, began, 0, null, null, null,
        coalesce(perch.current_user_id(), ''), null)::perch.tail_append], of_rows => true);
      insert into perch.row_documents (space_id, app_id, table_name, record_id, shown_seq, shown_version)
      values (adopt_row.space_id, adopt_row.app_id, adopt_row.table_name, adopt_row.record_id, began, '{}');
      select json_object_agg(c.key, c.value)::jsonb into content
        from jsonb_each("row") c where relation.documents ? c.key and c.value <> 'null';
      if content is not null then
        perform perch.add_column_write(adopt_row.space_id, adopt_row.app_id, adopt_row.table_name, adopt_row.record_id,
          content, '{}');
      end if;
    end if;
  end if;
  return (
    select case when bool_or(w.error is not null) then 'refused' when bool_or(w.placed is null) then 'waiting'
                else 'ready' end
      from perch.column_writes w
     where w.space_id = adopt_row.space_id and w.app_id = adopt_row.app_id
       and w.table_name = adopt_row.table_name and w.record_id = adopt_row.record_id);
end
$$;
grant execute on function perch.adopt_row to perch_worker;

comment on function perch.adopt_row(text, text, text, text, integer) is
  'Private. Makes a row of a synced table a document, unless it is one. Returns ready; waiting, when something that was written to its columns is not merged yet; refused, when the document cannot take what is in them (perch.column_writes says why); missing, when there is no such row in the space; null where the table has no documents in columns. lock_timeout_ms: how long to wait for what somebody else has locked; it stays set until the end of the transaction.';
