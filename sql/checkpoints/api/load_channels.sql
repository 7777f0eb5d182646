create or replace function perch.load_channels(tenant_id text, thread_id text, namespace text, id uuid default null)
returns table (
  kind text, found_thread_id text, found_namespace text, checkpoint_id uuid, parent_id uuid, seq bigint, metadata jsonb,
  task_id text, channel text, version text, type text, json_text text, bytes bytea
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  tenant constant text := coalesce(case
    when load_channels.tenant_id is not null then set_config('app.current_tenant_id', load_channels.tenant_id,
    true) end,
    perch.current_tenant_id());
begin
  if tenant is null or tenant = '' then
    perform perch.require_tenant();
  end if;
  return query
    select * from perch.channel_rows(tenant, load_channels.thread_id, load_channels.namespace, load_channels.id);
end
$$;
grant execute on function perch.load_channels to perch_app;

comment on function perch.load_channels(text, text, text, uuid) is
  'For LangGraph savers: a checkpoint of a thread of a tenant (null: the current one) by its id, or the head, as rows: the checkpoint (json_text: all but channel_values, and of channel_versions the part that the values do not have), then its values, then the writes of tasks on top of it, then, for an old format, what was sent to it. No row when there is none. Errors: PE401; PE422 when the thread was not written by a LangGraph saver.';
