create or replace function perch.load_channels(thread_id text, namespace text, id uuid default null)
returns table (
  kind text, found_thread_id text, found_namespace text, checkpoint_id uuid, parent_id uuid, seq bigint, metadata jsonb,
  task_id text, channel text, version text, type text, json_text text, bytes bytea
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  tenant constant text := perch.require_tenant();
  thread perch.threads;
begin
  select t.* into thread
    from perch.threads t
   where t.tenant_id = tenant and t.thread_id = load_channels.thread_id and t.namespace = load_channels.namespace;
  perform perch.check_format(load_channels.thread_id, thread.format, 'channels');
  return query
    select * from perch.channel_rows(tenant, thread, coalesce(load_channels.id, thread.head_id));
end
$$;

comment on function perch.load_channels(text, text, uuid) is
  'For LangGraph savers: a checkpoint of a thread of the current tenant by its id, or the head, as rows: the checkpoint (json: all but channel_values, and of channel_versions the part that the values do not have), then its values, then the writes of tasks on top of it, then, for an old format, what was sent to it. No row when there is none. Errors: PE401, PE422 when the thread was not written by a LangGraph saver.';
