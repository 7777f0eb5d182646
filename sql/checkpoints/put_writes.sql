create or replace function perch.put_writes(
  thread_id text, namespace text, checkpoint_id uuid, task_id text,
  idxs integer[], channels text[], types text[], jsons text[], bytes bytea[],
  replace boolean default false, fencing_token bigint default null
)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  tenant constant text := perch.require_tenant();
  number bigint;
  found_format text;
begin
  perform perch.check_id(put_writes.thread_id, 'thread_id');
  perform perch.check_id(put_writes.task_id, 'task_id', 1024);
  if put_writes.namespace <> '' then
    perform perch.check_id(put_writes.namespace, 'namespace', 1024);
  end if;
  if put_writes.namespace is null or put_writes.checkpoint_id is null then
    perform perch.fail('PE422', 'namespace or checkpoint_id is missing');
  end if;
  perform perch.check_state_size((select coalesce(sum(octet_length(g.json_text)), 0) + coalesce(sum(octet_length(g.bytes)), 0)
                                    from unnest(put_writes.jsons, put_writes.bytes) g (json_text, bytes)));
  if put_writes.fencing_token is not null then
    perform perch.require_lease(tenant, put_writes.thread_id, put_writes.fencing_token);
  end if;

  -- Tasks write at the same time as each other and as the put of the checkpoint they run on, which may arrive later: the thread
  -- only has to stay.
  loop
    select t.thread_no, t.format into number, found_format
      from perch.threads t
     where t.tenant_id = tenant and t.thread_id = put_writes.thread_id and t.namespace = put_writes.namespace
       for key share;
    exit when found;
    perform perch.make_thread(tenant, put_writes.thread_id, put_writes.namespace, 'channels');
  end loop;

  perform perch.check_format(put_writes.thread_id, found_format, 'channels');

  if put_writes.replace then
    insert into perch.checkpoint_writes (tenant_id, thread_no, checkpoint_id, task_id, idx, channel, type, json_text, bytes)
    select tenant, number, put_writes.checkpoint_id, put_writes.task_id, g.idx, g.channel, g.type, g.json_text, g.bytes
      from unnest(put_writes.idxs, put_writes.channels, put_writes.types, put_writes.jsons, put_writes.bytes) g (idx, channel, type, json_text, bytes)
    on conflict on constraint checkpoint_writes_pkey do update
      set channel = excluded.channel, type = excluded.type, json_text = excluded.json_text, bytes = excluded.bytes;
  else
    insert into perch.checkpoint_writes (tenant_id, thread_no, checkpoint_id, task_id, idx, channel, type, json_text, bytes)
    select tenant, number, put_writes.checkpoint_id, put_writes.task_id, g.idx, g.channel, g.type, g.json_text, g.bytes
      from unnest(put_writes.idxs, put_writes.channels, put_writes.types, put_writes.jsons, put_writes.bytes) g (idx, channel, type, json_text, bytes)
    on conflict on constraint checkpoint_writes_pkey do nothing;
  end if;
end
$$;

comment on function perch.put_writes(text, text, uuid, text, integer[], text[], text[], text[], bytea[], boolean, bigint) is
  'For LangGraph savers: keeps what a task wrote on top of a checkpoint, so that the task does not run again when the step is resumed. The checkpoint may be put later. A write that is there already stays as it is, or is replaced. Errors: PE401, PE409 for a lost lease, PE413, PE422.';
