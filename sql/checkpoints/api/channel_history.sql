-- Parents are what savers say they are, and may be each other's: each time that the way has become twice as long it is
-- marked, and whoever comes to the mark again has gone round.
create or replace function perch.channel_history(thread_id text, namespace text, id uuid, channels text[])
returns table (kind text, task_id text, channel text, type text, json_text text, bytes bytea)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
  tenant constant text := perch.require_tenant();
  thread perch.threads;
  missing text[] := channel_history.channels;
  start uuid;
  above uuid;
  c perch.stored_checkpoints;
  mark uuid;
  steps bigint := 0;
  next_mark bigint := 1;
begin
  select t.* into thread
    from perch.threads t
   where t.tenant_id = tenant and t.thread_id = channel_history.thread_id and t.namespace = channel_history.namespace
     and t.format = 'channels';
  start := coalesce(channel_history.id, thread.head_id);
  select x.parent_id into above
    from perch.stored_checkpoints x
   where x.tenant_id = tenant and x.thread_no = thread.thread_no and x.id = start;

  while above is not null and cardinality(missing) > 0 loop
    select x.* into c
      from perch.stored_checkpoints x
     where x.tenant_id = tenant and x.thread_no = thread.thread_no and x.id = above;
    exit when not found or above = mark;
    steps := steps + 1;
    if steps = next_mark then
      mark := above;
      next_mark := 2 * steps;
    end if;
    -- From here on upwards, so the last first.
    return query
      select 'write', w.task_id, w.channel, w.type,
           case when w.pieces is null then w.json_text
             else perch.assemble_json(tenant, thread.thread_no, w.json_text, w.pieces) end, w.bytes
        from perch.checkpoint_writes w
       where w.tenant_id = tenant and w.thread_no = thread.thread_no and w.checkpoint_id = c.id
         and w.channel = any (missing)
       order by w.task_id desc, w.idx desc;
    return query
      select 'seed', null::text, v.key, v.type, perch.assemble_json(v.tenant_id, v.thread_no, v.json_text, v.pieces),
        v.bytes
        from unnest(c.value_nos) u (no)
       cross join lateral (
         select x.* from perch.checkpoint_values x
          where x.tenant_id = tenant and x.thread_no = thread.thread_no and x.no = u.no
         offset 0
       ) v
       where v.key = any (missing) and (v.json_text is not null or v.bytes is not null);
    missing := array(
      select m from unnest(missing) m
       where m <> all (array(
         select v.key from unnest(c.value_nos) u (no)
          cross join lateral (
            select x.key, x.json_text, x.bytes from perch.checkpoint_values x
             where x.tenant_id = tenant and x.thread_no = thread.thread_no and x.no = u.no
            offset 0
          ) v
          where v.json_text is not null or v.bytes is not null)));
    above := c.parent_id;
  end loop;
end
$$;
grant execute on function perch.channel_history to perch_app;

comment on function perch.channel_history(text, text, uuid, text[]) is
  'For LangGraph savers: what makes up the incremental channels of a checkpoint (null: the head): going up from its parent, the writes to each channel, the last first, until one that has a value, the seed. Errors: PE401.';
