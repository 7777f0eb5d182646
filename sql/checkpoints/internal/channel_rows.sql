-- Stable, so that all of it is read as of one moment: what is pruned meanwhile is either there whole or not at all.
create or replace function perch.channel_rows(tenant_id text, thread_id text, namespace text, id uuid)
returns table (
  kind text, found_thread_id text, found_namespace text, checkpoint_id uuid, parent_id uuid, seq bigint, metadata jsonb,
  task_id text, channel text, version text, type text, json_text text, bytes bytea
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
  found_format text;
  number bigint;
  wanted uuid;
  c perch.stored_checkpoints;
begin
  select t.format, t.thread_no, coalesce(channel_rows.id, t.head_id) into found_format, number, wanted
    from perch.threads t
   where t.tenant_id = channel_rows.tenant_id and t.thread_id = channel_rows.thread_id
     and t.namespace = channel_rows.namespace;
  perform perch.check_format(channel_rows.thread_id, found_format, 'channels');
  select x.* into c
    from perch.stored_checkpoints x
   where x.tenant_id = channel_rows.tenant_id and x.thread_no = number and x.id = wanted;
  if not found then
    return;
  end if;
  return query
    select 'checkpoint', channel_rows.thread_id, channel_rows.namespace, c.id, c.parent_id, c.seq, c.metadata,
           null::text, null::text, null::text, null::text, c.channels::text, null::bytea;
  return query
    select 'value', null::text, null::text, null::uuid, null::uuid, null::bigint, null::jsonb, null::text, v.key,
      v.version, v.type,
           case when v.pieces is null then v.json_text
             else perch.assemble_json(channel_rows.tenant_id, number, v.json_text, v.pieces) end, v.bytes
      from unnest(c.value_nos) u (no)
     cross join lateral (
       select x.* from perch.checkpoint_values x
        where x.tenant_id = channel_rows.tenant_id and x.thread_no = number and x.no = u.no
       offset 0
     ) v;
  return query
    select 'write', null::text, null::text, null::uuid, null::uuid, null::bigint, null::jsonb, w.task_id, w.channel,
      null::text, w.type,
           case when w.pieces is null then w.json_text
             else perch.assemble_json(channel_rows.tenant_id, number, w.json_text, w.pieces) end, w.bytes
      from perch.checkpoint_writes w
     where w.tenant_id = channel_rows.tenant_id and w.thread_no = number and w.checkpoint_id = c.id
     order by w.task_id, w.idx;
  -- Before version 4 of the format what was sent to a step lay with the writes of the step before.
  if (c.channels ->> 'v')::numeric < 4 and c.parent_id is not null then
    return query
      select 'send', null::text, null::text, null::uuid, null::uuid, null::bigint, null::jsonb, w.task_id, w.channel,
        null::text, w.type,
           case when w.pieces is null then w.json_text
             else perch.assemble_json(channel_rows.tenant_id, number, w.json_text, w.pieces) end, w.bytes
        from perch.checkpoint_writes w
       where w.tenant_id = channel_rows.tenant_id and w.thread_no = number and w.checkpoint_id = c.parent_id
         and w.channel = '__pregel_tasks'
       order by w.task_id, w.idx;
  end if;
end
$$;

comment on function perch.channel_rows(text, text, text, uuid) is
  'Private. A checkpoint of channels (null: the head) as rows: itself (json_text: all but channel_values, and of channel_versions the part that the values do not have), then its values, the writes of tasks on top of it, and of an old format what was sent to it.';
