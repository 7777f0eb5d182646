create or replace function perch.put_channels(
  thread_id text, namespace text, id uuid, parent_id uuid, step bigint, metadata jsonb, checkpoint jsonb,
  channels text[], types text[], jsons text[], bytes bytea[],
  only_known boolean default false, delta_channels text[] default '{}', fencing_token bigint default null
)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  tenant constant text := perch.require_tenant();
  versions constant jsonb := coalesce(put_channels.checkpoint -> 'channel_versions', '{}');
  described constant jsonb := coalesce(put_channels.metadata, '{}');
  thread perch.threads;
  above integer[];
  kept integer[];
  known text[];
  given text[] := coalesce(put_channels.channels, '{}');
  rest jsonb;
begin
  perform perch.check_id(put_channels.thread_id, 'thread_id');
  if put_channels.namespace <> '' then
    perform perch.check_id(put_channels.namespace, 'namespace', 1024);
  end if;
  if put_channels.namespace is null or put_channels.id is null or jsonb_typeof(put_channels.checkpoint) is distinct from 'object'
     or jsonb_typeof(versions) <> 'object' or jsonb_typeof(described) <> 'object' then
    perform perch.fail('PE422', 'namespace, id, checkpoint or metadata is missing or of no use');
  end if;
  perform perch.check_state_size(octet_length(put_channels.checkpoint::text) + octet_length(described::text)
    + (select coalesce(sum(octet_length(g.json_text)), 0) + coalesce(sum(octet_length(g.bytes)), 0)
         from unnest(put_channels.jsons, put_channels.bytes) g (json_text, bytes)));
  if put_channels.fencing_token is not null then
    perform perch.require_lease(tenant, put_channels.thread_id, put_channels.fencing_token);
  end if;
  thread := perch.lock_thread(tenant, put_channels.thread_id, put_channels.namespace, 'channels');

  -- A channel that is not among the new ones has the value of the parent, if it has the same version there.
  select c.value_nos into above from perch.stored_checkpoints c
   where c.tenant_id = tenant and c.thread_no = thread.thread_no and c.id = put_channels.parent_id;
  if put_channels.only_known then
    given := '{}';
  end if;
  select coalesce(array_agg(v.no order by v.no), '{}'), coalesce(array_agg(v.key), '{}')
    into kept, known
    from perch.checkpoint_values v
   where v.tenant_id = tenant and v.thread_no = thread.thread_no and v.no = any (above)
     and v.key <> all (given) and v.version = (versions -> v.key)::text;

  if put_channels.only_known then
    -- A copy of a checkpoint beside it: its values are the thread's, but maybe not the parent's.
    with found_values as (
      select distinct on (v.key) v.key, v.no
        from unnest(put_channels.channels, put_channels.types, put_channels.jsons, put_channels.bytes) g (channel, type, json_text, bytes)
        join perch.checkpoint_values v
          on v.tenant_id = tenant and v.thread_no = thread.thread_no and v.key = g.channel and v.version = (versions -> g.channel)::text
         and v.type is not distinct from g.type and v.bytes is not distinct from g.bytes
         and perch.assemble_json(v.tenant_id, v.thread_no, v.json_text, v.pieces) is not distinct from g.json_text
       where g.channel <> all (known)
       order by v.key, v.no desc
    )
    select kept || coalesce(array_agg(f.no), '{}'), known || coalesce(array_agg(f.key), '{}') into kept, known from found_values f;
  elsif cardinality(given) > 0 then
    perform perch.add_values(thread, given, array(select (versions -> g.channel)::text from unnest(given) with ordinality g (channel, nth) order by g.nth),
      put_channels.types, put_channels.jsons, put_channels.bytes);
  end if;

  rest := put_channels.checkpoint - 'channel_versions'
    || jsonb_build_object('channel_versions', versions - known - given);
  insert into perch.stored_checkpoints as c (tenant_id, thread_no, id, parent_id, seq, step, metadata, value_nos, channels)
  values (tenant, thread.thread_no, put_channels.id, put_channels.parent_id, thread.last_seq + 1, put_channels.step, described,
          kept || array(select thread.last_value_no + n from generate_series(1, cardinality(given)) n), rest)
  on conflict on constraint stored_checkpoints_pkey do update
    set metadata = excluded.metadata, value_nos = excluded.value_nos, channels = excluded.channels, step = excluded.step;

  update perch.threads t
     set last_seq = t.last_seq + 1,
         last_value_no = t.last_value_no + cardinality(given),
         delta_channels = case when put_channels.delta_channels <@ t.delta_channels then t.delta_channels
                               else array(select distinct d from unnest(t.delta_channels || put_channels.delta_channels) d) end,
         -- A parent that arrives after its child, or a checkpoint that is written again, is not the latest for that.
         head_id = case
           when t.head_id is null or put_channels.parent_id = t.head_id then put_channels.id
           when exists (select from perch.stored_checkpoints c
                         where c.tenant_id = tenant and c.thread_no = t.thread_no
                           and (c.id = t.head_id and c.parent_id = put_channels.id or c.id = put_channels.id and c.seq <> thread.last_seq + 1))
             then t.head_id
           else put_channels.id
         end
   where t.tenant_id = tenant and t.thread_id = put_channels.thread_id and t.namespace = put_channels.namespace;
end
$$;

comment on function perch.put_channels(text, text, uuid, uuid, bigint, jsonb, jsonb, text[], text[], text[], bytea[], boolean, text[], bigint) is
  'For LangGraph savers: appends a checkpoint that is made of versioned channels to a thread of the current tenant, or to a subgraph''s namespace in it; it becomes the head there. checkpoint: LangGraph''s, without channel_values. channels, types, jsons, bytes: the channels that are new, each with its value as JSON text (type null or ''json'') or as bytes, or without a value; the others are those of the parent at the same version. only_known: the channels are given for comparison; those that the thread has no value of are left out. delta_channels: channels whose value may lie in the writes above. The same id again replaces the checkpoint and leaves the head. Errors: PE401, PE409 for a lost lease, PE413, PE422.';
