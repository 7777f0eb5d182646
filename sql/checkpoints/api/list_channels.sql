create or replace function perch.list_channels(
  thread_id text default null, namespace text default null, id uuid default null, filter jsonb default null,
  before uuid default null, after_id uuid default null, after_thread_id text default null,
    after_namespace text default null,
  max_count integer default 100
)
returns table (
  kind text, found_thread_id text, found_namespace text, checkpoint_id uuid, parent_id uuid, seq bigint, metadata jsonb,
  task_id text, channel text, version text, type text, json_text text, bytes bytea
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
  tenant constant text := perch.require_tenant();
  one perch.threads;
  before_seq bigint;
  after_seq bigint;
  below bigint;
  listed record;
begin
  perform perch.check_count(list_channels.max_count);
  if list_channels.thread_id is not null and list_channels.namespace is not null then
    select t.* into one
      from perch.threads t
     where t.tenant_id = tenant and t.thread_id = list_channels.thread_id and t.namespace = list_channels.namespace
       and t.format = 'channels';
    select c.seq into before_seq from perch.stored_checkpoints c
     where c.tenant_id = tenant and c.thread_no = one.thread_no and c.id = list_channels.before;
    select c.seq into after_seq from perch.stored_checkpoints c
     where c.tenant_id = tenant and c.thread_no = one.thread_no and c.id = list_channels.after_id;
    below := least(before_seq, after_seq, one.last_seq + 1);
    -- In the order of the commits, the head's being the last whatever the clocks said that made the ids. Only when
    -- before is of another namespace is there nothing but its id to go by.
    for listed in
      select c.id
        from perch.stored_checkpoints c
       where c.tenant_id = tenant and c.thread_no = one.thread_no
         and (list_channels.id is null or c.id = list_channels.id)
         and (list_channels.filter is null or c.metadata @> list_channels.filter)
         and (list_channels.before is null or before_seq is not null or c.id < list_channels.before)
         and c.seq > 0 and c.seq < below
       order by c.seq desc
       limit list_channels.max_count
    loop
      return query select * from perch.channel_rows(tenant, list_channels.thread_id, list_channels.namespace,
        listed.id);
    end loop;
    return;
  end if;

  for listed in
    select t.thread_id, t.namespace, c.id
      from perch.threads t
      join perch.stored_checkpoints c on c.tenant_id = t.tenant_id and c.thread_no = t.thread_no
     where t.tenant_id = tenant and t.format = 'channels'
       and (list_channels.thread_id is null or t.thread_id = list_channels.thread_id)
       and (list_channels.namespace is null or t.namespace = list_channels.namespace)
       and (list_channels.id is null or c.id = list_channels.id)
       and (list_channels.filter is null or c.metadata @> list_channels.filter)
       and (list_channels.before is null or c.id < list_channels.before)
       and (list_channels.after_id is null
            or (c.id, t.thread_id, t.namespace) < (list_channels.after_id, list_channels.after_thread_id,
              list_channels.after_namespace))
     order by c.id desc, t.thread_id desc, t.namespace desc
     limit list_channels.max_count
  loop
    return query select * from perch.channel_rows(tenant, listed.thread_id, listed.namespace, listed.id);
  end loop;
end
$$;
grant execute on function perch.list_channels to perch_app;

comment on function perch.list_channels(text, text, uuid, jsonb, uuid, uuid, text, text, integer) is
  'For LangGraph savers: checkpoints of the current tenant, the latest first, each as the rows of perch.load_channels; of one thread and namespace, or of all. filter: what metadata contains. before: those before that checkpoint. after_…: the last one of the page before. Errors: PE401, PE422 when max_count is not between 1 and 10000.';
