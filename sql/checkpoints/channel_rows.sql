create or replace function perch.channel_rows(tenant_id text, thread perch.threads, id uuid)
returns table (
  kind text, thread_id text, namespace text, checkpoint_id uuid, parent_id uuid, seq bigint, metadata jsonb,
  task_id text, channel text, version text, type text, json_text text, bytes bytea
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  c perch.stored_checkpoints;
begin
  select x.* into c
    from perch.stored_checkpoints x
   where x.tenant_id = channel_rows.tenant_id and x.thread_no = thread.thread_no and x.id = channel_rows.id;
  if not found then
    return;
  end if;
  return query
    select 'checkpoint', thread.thread_id, thread.namespace, c.id, c.parent_id, c.seq, c.metadata, null::text, null::text, null::text, null::text,
           c.channels::text, null::bytea;
  return query
    select 'value', null::text, null::text, null::uuid, null::uuid, null::bigint, null::jsonb, null::text, v.key, v.version, v.type,
           perch.assemble_json(v.tenant_id, v.thread_no, v.json_text, v.pieces), v.bytes
      from perch.checkpoint_values v
     where v.tenant_id = channel_rows.tenant_id and v.thread_no = thread.thread_no and v.no = any (c.value_nos);
  return query
    select 'write', null::text, null::text, null::uuid, null::uuid, null::bigint, null::jsonb, w.task_id, w.channel, null::text, w.type, w.json_text, w.bytes
      from perch.checkpoint_writes w
     where w.tenant_id = channel_rows.tenant_id and w.thread_no = thread.thread_no and w.checkpoint_id = c.id
     order by w.task_id, w.idx;
  -- Before version 4 of the format what was sent to a step lay with the writes of the step before.
  if (c.channels ->> 'v')::numeric < 4 and c.parent_id is not null then
    return query
      select 'send', null::text, null::text, null::uuid, null::uuid, null::bigint, null::jsonb, w.task_id, w.channel, null::text, w.type, w.json_text, w.bytes
        from perch.checkpoint_writes w
       where w.tenant_id = channel_rows.tenant_id and w.thread_no = thread.thread_no and w.checkpoint_id = c.parent_id
         and w.channel = '__pregel_tasks'
       order by w.task_id, w.idx;
  end if;
end
$$;

comment on function perch.channel_rows(text, perch.threads, uuid) is
  'Private. A checkpoint of channels as rows: itself (json: all but channel_values, and of channel_versions the part that the values do not have), then its values, the writes of tasks on top of it, and of an old format what was sent to it.';
