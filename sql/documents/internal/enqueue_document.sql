-- Lock order: behind the row of the document (docs/architecture.md, "The order of locks"). No wake-up is lost: the
-- caller holds the document's row, as does whoever takes the document off the queue. So either the row was taken off
-- before (then this INSERT finds none and adds it), or it will be looked at after our commit (and then the one who
-- looks sees our update).
create or replace function perch.enqueue_document(space_id text, app_id text, table_name text, record_id text)
returns void
language sql volatile
set search_path = pg_catalog, pg_temp
as $$
  insert into perch.document_queue (space_id, app_id, table_name, record_id, due_at)
  values (enqueue_document.space_id, enqueue_document.app_id, enqueue_document.table_name, enqueue_document.record_id,
          clock_timestamp())
  on conflict do nothing
$$;
grant execute on function perch.enqueue_document to perch_worker;

comment on function perch.enqueue_document(text, text, text, text) is
  'Private. Puts a document on the queue of those to project, unless it is there. The caller holds the row of the document.';
