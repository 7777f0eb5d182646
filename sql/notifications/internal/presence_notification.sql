-- The one place that knows what a notification on perch_presence says. One expression, which the planner takes into the
-- statement around it.
create or replace function perch.presence_notification(change_id bigint)
returns text
language sql stable parallel safe
return case when change_id is null then jsonb_build_object('v', 1, 'node', true)
            else jsonb_build_object('v', 1, 'seq', change_id) end::text;
grant execute on function perch.presence_notification to perch_worker;

comment on function perch.presence_notification(bigint) is
  'Private. The payload of a notification on perch_presence: the last change_id; null: a node has come.';
