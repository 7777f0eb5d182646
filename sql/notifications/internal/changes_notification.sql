-- The one place that knows what a notification on perch_changes says. One expression, which the planner takes into the
-- statement around it.
create or replace function perch.changes_notification(space_id text, seq bigint)
returns text
language sql stable parallel safe
return jsonb_build_object('v', 1, 'space_id', space_id, 'seq', seq)::text;
grant execute on function perch.changes_notification to perch_worker;

comment on function perch.changes_notification(text, bigint) is
  'Private. The payload of a notification on perch_changes: a space, and the last number of its log.';
