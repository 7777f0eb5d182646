-- Lock order: the document, its record; the counter of the space is only tried (docs/architecture.md, "The order of
-- locks").
--
-- A document in columns of a synced table is shown by those (perch.project_columns), which take no counter.
create or replace function perch.project_document(
  space_id text, app_id text, table_name text, record_id text, seq bigint, data jsonb, size bigint,
  revision bigint default null, lock_timeout_ms integer default null, raises boolean default false
)
returns table (logged_seq bigint, tail_count bigint, tail_bytes bigint, waited_ms float8)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  key constant perch.tail_append := row(1, space_id, app_id, table_name, record_id, null, null, null, null, null, null,
    null)::perch.tail_append;
  document perch.documents;
  relation constant perch.synced_relations := perch.document_relation(app_id, table_name);
  difference perch.record_difference;
  author record;
  began constant timestamptz := clock_timestamp();
begin
  if lock_timeout_ms is not null then
    perform set_config('lock_timeout', lock_timeout_ms::text, true);
  end if;
  waited_ms := 0;
  if relation.relation is not null then
    perform perch.lock_row(relation, record_id);
    waited_ms := extract(epoch from clock_timestamp() - began) * 1000;
    document := perch.project_columns(relation, space_id, record_id, seq, data, revision, raises);
    if document.space_id is null then
      return;
    end if;
  else
    document := perch.lock_document_row(key);
    waited_ms := extract(epoch from clock_timestamp() - began) * 1000;
    -- Deleted meanwhile, or the caller has an earlier incarnation, or what a database that went back has lost.
    if document.space_id is null or project_document.seq <= document.incarnation_seq
       or perch.has_position(document, project_document.seq, project_document.revision) is not true then
      return;
    end if;
    if project_document.seq > document.projected_seq then
      difference := perch.compare_record(document.space_id, document.app_id, document.table_name, document.record_id,
        project_document.data, is_whole => true);
    end if;
  end if;

  if difference.changed is not null then
    select u.user_id, u.client_id into author from perch.document_updates u
     where u.space_id = document.space_id and u.app_id = document.app_id
       and u.table_name = document.table_name and u.record_id = document.record_id
       and u.seq <= project_document.seq
     order by u.seq desc limit 1;
    logged_seq := perch.show_record(document.space_id, document.app_id, document.table_name, document.record_id,
      difference, coalesce(author.user_id, document.created_by), author.client_id, document.created_by);
  end if;

  update perch.documents d
     set projected_seq = greatest(d.projected_seq, project_document.seq), projection_bytes = project_document.size
   where d.space_id = document.space_id and d.app_id = document.app_id
     and d.table_name = document.table_name and d.record_id = document.record_id;
  if greatest(document.projected_seq, project_document.seq) = document.merged_seq then
    delete from perch.document_queue q
     where q.space_id = document.space_id and q.app_id = document.app_id
       and q.table_name = document.table_name and q.record_id = document.record_id;
  else
    update perch.document_queue q set due_at = clock_timestamp()
     where q.space_id = document.space_id and q.app_id = document.app_id
       and q.table_name = document.table_name and q.record_id = document.record_id;
  end if;

  tail_count := document.tail_count;
  tail_bytes := document.tail_bytes;
  return next;
end
$$;
grant execute on function perch.project_document to perch_worker;

comment on function perch.project_document(text, text, text, text, bigint, jsonb, bigint, bigint, integer, boolean) is
  'For perch_worker: writes the JSON that a document has at position seq (size: its bytes as text) into its record, and names the fields that changed in the log. Returns the log''s seq (null: nothing changed, or it is still to come) how much tail there is behind the snapshot, and for how long others had locked what it needs; no row when the document is gone, or has something else at seq than revision says (null: only the number is compared). raises: whether what the table of a document in columns refuses is an error; else the document gets back what the columns have. lock_timeout_ms: how long to wait for what somebody else has locked; it stays set until the end of the transaction.';
