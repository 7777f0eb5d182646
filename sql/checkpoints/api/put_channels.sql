-- Lock order: the lease, the thread, its pieces by hash (docs/architecture.md, "The order of locks").
--
-- Savers call this for every step of every run, so what is rare stands aside: ids are checked where a thread is made,
-- and every statement here finds what it touches by its key.
create or replace function perch.put_channels(
  tenant_id text, thread_id text, namespace text, id uuid, parent_id uuid, step bigint, metadata jsonb,
    checkpoint jsonb,
  channels text[], types text[], starts integer[], sizes integer[], payload bytea,
  only_known boolean default false, delta_channels text[] default '{}', fencing_token bigint default null
)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
  tenant constant text := coalesce(case
    when put_channels.tenant_id is not null then set_config('app.current_tenant_id', put_channels.tenant_id, true) end,
    perch.current_tenant_id());
  versions constant jsonb := coalesce(put_channels.checkpoint -> 'channel_versions', '{}');
  given constant text[] := case when put_channels.only_known then '{}' else coalesce(put_channels.channels, '{}') end;
  added constant integer := cardinality(given);
  -- By their text: a number may be a few bytes as it is stored, and very long for whoever reads it.
  described constant text := put_channels.checkpoint::text || put_channels.metadata::text;
  size constant bigint := octet_length(described) + octet_length(put_channels.payload);
  number bigint;
  position bigint;
  before_first integer;
  found_format text;
  kept integer[] := '{}';
  known text[] := '{}';
  others jsonb;
begin
  if perch.catches_undone() then
    begin
      perform perch.put_channels(tenant_id, thread_id, namespace, id, parent_id, step, metadata, checkpoint,
        channels, types, starts, sizes, payload, only_known, delta_channels, fencing_token);
      return;
    exception when serialization_failure then
      perform perch.fail_undone(sqlerrm);
    end;
  end if;
  if put_channels.id is null or jsonb_typeof(put_channels.checkpoint) is distinct
    from 'object' or jsonb_typeof(versions) <> 'object'
     or jsonb_typeof(put_channels.metadata) is distinct from 'object' or size is null then
    perform perch.require_tenant();
    perform perch.fail('PE422', 'id, metadata, checkpoint or payload is missing or of no use',
      hint => 'Pass all four, with no nulls in the arrays; see the comment of perch.put_channels.');
  end if;
  if size > 1048576 or perch.setting('max_state_bytes', 67108864) < 1048576 then
    perform perch.check_state_size(size);
  end if;
  if perch.may_have_long_number(described) then
    perform perch.check_numbers(put_channels.checkpoint, put_channels.checkpoint::text, 'the checkpoint');
    perform perch.check_numbers(put_channels.metadata, put_channels.metadata::text, 'metadata');
  end if;
  if put_channels.fencing_token is not null then
    perform perch.require_lease(tenant, put_channels.thread_id, put_channels.fencing_token);
  end if;

  -- From here until commit nobody else puts a checkpoint into this thread and namespace: the numbers are ours.
  loop
    update perch.threads t
       set last_seq = t.last_seq + 1,
           last_value_no = t.last_value_no + added,
           delta_channels = case
             when put_channels.delta_channels <@ t.delta_channels then t.delta_channels
             else array(select distinct d from unnest(t.delta_channels || put_channels.delta_channels) d) end,
           head_id = case
             when t.head_id is null or t.head_id = put_channels.parent_id then put_channels.id
             else perch.head_after(tenant, t.thread_no, t.head_id, put_channels.id) end
     where t.tenant_id = tenant and t.thread_id = put_channels.thread_id and t.namespace = put_channels.namespace
    returning t.thread_no, t.last_seq, t.last_value_no - added, t.format into number, position, before_first,
      found_format;
    exit when found;
    perform perch.make_thread(perch.require_tenant(), put_channels.thread_id, put_channels.namespace, 'channels');
  end loop;
  if found_format <> 'channels' then
    perform perch.check_format(put_channels.thread_id, found_format, 'channels');
  end if;
  if put_channels.fencing_token is null then
    perform perch.require_no_lease(tenant, put_channels.thread_id);
  end if;

  -- A channel that is not among the new ones has the value of the parent, if it has the same version there.
  others := versions - given;
  if others <> '{}' and put_channels.parent_id is not null then
    select coalesce(array_agg(v.no order by v.no), '{}'), coalesce(array_agg(v.key), '{}')
      into kept, known
      from perch.stored_checkpoints c
     cross join unnest(c.value_nos) u (no)
     cross join lateral (
       select x.no, x.key, x.version from perch.checkpoint_values x
        where x.tenant_id = tenant and x.thread_no = number and x.no = u.no
       offset 0
     ) v
     where c.tenant_id = tenant and c.thread_no = number and c.id = put_channels.parent_id
       and v.version = (others -> v.key)::text;
  end if;
  if put_channels.only_known then
    -- A copy of a checkpoint beside it: its values are the thread's, but maybe not the parent's.
    with found_values as (
      select distinct on (v.key) v.key, v.no
        from unnest(put_channels.channels, put_channels.types, put_channels.starts, put_channels.sizes) g (channel,
          type, start, size)
        join perch.checkpoint_values v
          on v.tenant_id = tenant and v.thread_no = number and v.key = g.channel
            and v.version = (versions -> g.channel)::text
         and v.type is not distinct from g.type
         and coalesce(convert_to(perch.assemble_json(v.tenant_id, v.thread_no, v.json_text, v.pieces), 'UTF8'), v.bytes)
             is not distinct from substring(put_channels.payload from g.start for g.size)
       where g.channel <> all (known)
       order by v.key, v.no desc
    )
    select kept || coalesce(array_agg(f.no), '{}'), known || coalesce(array_agg(f.key), '{}') into kept, known
      from found_values f;
  end if;

  -- One statement, in which the values are taken out of the payload once.
  with given_values as materialized (
    select g.channel, g.type, before_first + g.nth as no, v.value, b.bodies, perch.piece_hashes(b.bodies) as hashes
      from unnest(given, put_channels.types, put_channels.starts, put_channels.sizes) with ordinality g (channel, type,
        start, size, nth)
     cross join lateral (select substring(put_channels.payload from g.start for g.size) as value) v
     -- Offset 0: what splits a long value is called once, however often its result is named.
     cross join lateral (
       select case
                when g.type is not null or (g.size >= 768) is not true then null
                when g.size >= 16384 and substring(put_channels.payload from g.start for 1) in ('[', '{')
                  then perch.split_json(convert_from(v.value, 'UTF8'), ',')
                else array[convert_from(v.value, 'UTF8')]
              end as bodies
       offset 0) b
     where g.nth <= added
  ), added_pieces as (
    insert into perch.checkpoint_pieces (tenant_id, thread_no, hash, body)
    select tenant, number, p.hash, p.body
      from given_values g cross join lateral unnest(g.hashes, g.bodies) p (hash, body)
     order by p.hash
    on conflict on constraint checkpoint_pieces_pkey do nothing
  ), added_values as (
    insert into perch.checkpoint_values (tenant_id, thread_no, no, key, version, type, json_text, pieces, bytes)
    select tenant, number, g.no, g.channel, (versions -> g.channel)::text, g.type,
           case when g.type is not null or g.value is null then null
                when g.bodies is null then convert_from(g.value, 'UTF8')
                when cardinality(g.bodies) = 1 then ''
                else convert_from(substring(g.value for 1), 'UTF8') || ',' || convert_from(substring(g.value
                  from octet_length(g.value)), 'UTF8') end,
           g.hashes,
           case when g.type is not null then g.value end
      from given_values g
  )
  insert into perch.stored_checkpoints as c (tenant_id, thread_no, id, parent_id, seq, step, metadata, value_nos,
    channels)
  values (tenant, number, put_channels.id, put_channels.parent_id, position, put_channels.step, put_channels.metadata,
          kept || array(select before_first + n from generate_series(1, added) n),
          case when others - known = '{}' then put_channels.checkpoint - 'channel_versions'
               else jsonb_set(put_channels.checkpoint, '{channel_versions}', others - known) end)
  on conflict on constraint stored_checkpoints_pkey do update
    set metadata = excluded.metadata, value_nos = excluded.value_nos, channels = excluded.channels,
      step = excluded.step;
end
$$;
grant execute on function perch.put_channels to perch_app;

comment on function perch.put_channels(text, text, text, uuid, uuid, bigint, jsonb, jsonb, text[], text[], integer[], integer[], bytea, boolean, text[], bigint) is
  'For LangGraph savers: appends a checkpoint that is made of versioned channels to a thread of a tenant (null: the current one), or to a subgraph''s namespace in it; it becomes the head there. checkpoint: LangGraph''s, without channel_values. channels: those that are new; their values lie in payload, from starts on (1 is the first byte), so long as sizes say (null: no value), as JSON (type null) or of a type of the saver''s. The other channels are those of the parent at the same version. only_known: the channels are given for comparison; those that the thread has no value of are left out. delta_channels: channels whose value may lie in the writes above. The same id again replaces the checkpoint and leaves the head. Errors: PE401, PE409 for a lost lease, PE413, PE422.';
