-- The one place that knows what a notification on perch_documents says. One expression, which the planner takes into
-- the statement around it.
create or replace function perch.document_notification(space_id text, app_id text, table_name text, record_id text,
  seq bigint)
returns text
language sql stable parallel safe
return jsonb_build_object(
  'v', 1, 'space_id', space_id, 'app_id', app_id, 'table', table_name, 'id', record_id, 'seq', seq)::text;
grant execute on function perch.document_notification to perch_worker;

comment on function perch.document_notification(text, text, text, text, bigint) is
  'Private. The payload of a notification on perch_documents: a document, and the position it has reached.';
