-- Lock order: the lease, the thread (only that it stays), the writes by idx, its pieces by hash (docs/architecture.md,
-- "The order of locks"). Tasks run side by side, and may write the same values in another order.
create or replace function perch.put_writes(
  tenant_id text, thread_id text, namespace text, checkpoint_id uuid, task_id text,
  idxs integer[], channels text[], types text[], starts integer[], sizes integer[], payload bytea,
  replace boolean default false, fencing_token bigint default null
)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
  tenant constant text := coalesce(case
    when put_writes.tenant_id is not null then set_config('app.current_tenant_id', put_writes.tenant_id, true) end,
    perch.current_tenant_id());
  number bigint;
  found_format text;
begin
  if perch.catches_undone() then
    begin
      perform perch.put_writes(tenant_id, thread_id, namespace, checkpoint_id, task_id, idxs, channels, types,
        starts, sizes, payload, replace, fencing_token);
      return;
    exception when serialization_failure then
      perform perch.fail_undone(sqlerrm);
    end;
  end if;
  if coalesce(put_writes.task_id, '') = '' or octet_length(put_writes.task_id) > 1024
    or put_writes.checkpoint_id is null or put_writes.payload is null then
    perform perch.require_tenant();
    perform perch.check_id(put_writes.task_id, 'task_id', 1024);
    perform perch.fail('PE422', 'checkpoint_id or payload is missing',
      hint => 'Pass both, with no nulls in the arrays; see the comment of perch.put_writes.');
  end if;
  if octet_length(put_writes.payload) > 1048576 or perch.setting('max_state_bytes', 67108864) < 1048576 then
    perform perch.check_state_size(octet_length(put_writes.payload));
  end if;
  if put_writes.fencing_token is not null then
    perform perch.require_lease(tenant, put_writes.thread_id, put_writes.fencing_token);
  end if;

  -- Tasks write at the same time as each other and as the put of the checkpoint they run on, which may arrive later:
  -- the thread only has to stay.
  loop
    select t.thread_no, t.format into number, found_format
      from perch.threads t
     where t.tenant_id = tenant and t.thread_id = put_writes.thread_id and t.namespace = put_writes.namespace
       for key share;
    exit when found;
    perform perch.make_thread(perch.require_tenant(), put_writes.thread_id, put_writes.namespace, 'channels');
  end loop;
  if found_format <> 'channels' then
    perform perch.check_format(put_writes.thread_id, found_format, 'channels');
  end if;
  if put_writes.fencing_token is null then
    perform perch.require_no_lease(tenant, put_writes.thread_id);
  end if;

  -- Tasks of one step often write the same: the pieces they share are put in the order of their hashes, and before the
  -- writes, so that of two transactions neither waits for the other.
  with given_values as materialized (
    select g.idx, g.channel, g.type, v.value, b.bodies, perch.piece_hashes(b.bodies) as hashes
      from unnest(put_writes.idxs, put_writes.channels, put_writes.types, put_writes.starts, put_writes.sizes) g (idx,
        channel, type, start, size)
     cross join lateral (select substring(put_writes.payload from g.start for g.size) as value) v
     -- Offset 0: what splits a long value is called once, however often its result is named.
     cross join lateral (
       select case
                when g.type is not null or (g.size >= 768) is not true then null
                when g.size >= 16384 and substring(put_writes.payload from g.start for 1) in ('[', '{')
                  then perch.split_json(convert_from(v.value, 'UTF8'), ',')
                else array[convert_from(v.value, 'UTF8')]
              end as bodies
       offset 0) b
  ), added_pieces as (
    insert into perch.checkpoint_pieces (tenant_id, thread_no, hash, body)
    select tenant, number, p.hash, p.body
      from given_values g cross join lateral unnest(g.hashes, g.bodies) p (hash, body)
     order by p.hash
    on conflict on constraint checkpoint_pieces_pkey do nothing
    returning 1
  )
  insert into perch.checkpoint_writes as w (tenant_id, thread_no, checkpoint_id, task_id, idx, channel, type, json_text,
    pieces, bytes)
  select tenant, number, put_writes.checkpoint_id, put_writes.task_id, g.idx, g.channel, g.type,
         case when g.type is not null or g.value is null then null
              when g.bodies is null then convert_from(g.value, 'UTF8')
              when cardinality(g.bodies) = 1 then ''
              else convert_from(substring(g.value for 1), 'UTF8') || ',' || convert_from(substring(g.value
                from octet_length(g.value)), 'UTF8') end,
         g.hashes,
         case when g.type is not null then g.value end
    from given_values g
   where (select count(*) from added_pieces) >= 0
   order by g.idx
  on conflict on constraint checkpoint_writes_pkey do update
    set channel = excluded.channel, type = excluded.type, json_text = excluded.json_text, pieces = excluded.pieces,
      bytes = excluded.bytes
    where put_writes.replace;
end
$$;
grant execute on function perch.put_writes to perch_app;

comment on function perch.put_writes(text, text, text, uuid, text, integer[], text[], text[], integer[], integer[], bytea, boolean, bigint) is
  'For LangGraph savers: keeps what a task wrote on top of a checkpoint of a tenant (null: the current one), so that the task does not run again when the step is resumed. The checkpoint may be put later. Values lie in payload as for perch.put_channels. A write that is there already stays as it is, or is replaced. Errors: PE401, PE409 for a lost lease, PE413, PE422.';
