create or replace function perch.put_checkpoint(
  thread_id text, state jsonb, step bigint, parent_id uuid default null, next_node text default null,
  schema_version integer default 1, metadata jsonb default '{}', id uuid default null, expected_head uuid default null,
  fencing_token bigint default null
)
returns uuid
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
  tenant constant text := perch.require_tenant();
  nobody constant uuid := '00000000-0000-0000-0000-000000000000';
  described constant jsonb := coalesce(put_checkpoint.metadata, '{}');
  thread perch.threads;
  known perch.stored_checkpoints;
  near_id uuid;
  near integer[];
  kept_keys text[];
  kept integer[];
  keys text[];
  jsons text[];
  size bigint;
  made uuid := put_checkpoint.id;
begin
  if perch.catches_undone() then
    begin
      return perch.put_checkpoint(thread_id, state, step, parent_id, next_node, schema_version, metadata, id,
        expected_head, fencing_token);
    exception when serialization_failure then
      perform perch.fail_undone(sqlerrm);
    end;
  end if;
  perform perch.check_checkpoint(put_checkpoint.thread_id, put_checkpoint.state, put_checkpoint.step,
    put_checkpoint.next_node,
    put_checkpoint.schema_version, described);
  -- The lease before the thread, as whoever takes a lease and then puts has it: no two wait for each other.
  if put_checkpoint.fencing_token is not null then
    perform perch.require_lease(tenant, put_checkpoint.thread_id, put_checkpoint.fencing_token);
  end if;
  thread := perch.lock_thread(tenant, put_checkpoint.thread_id, '', 'state');
  if put_checkpoint.fencing_token is null then
    perform perch.require_no_lease(tenant, put_checkpoint.thread_id);
  end if;

  -- Sent again because the answer was lost: the same once more changes nothing.
  if made is not null then
    select c.* into known from perch.stored_checkpoints c
     where c.tenant_id = tenant and c.thread_no = thread.thread_no and c.id = made;
    if found then
      if (known.parent_id, known.step, known.next_node, known.schema_version, known.metadata) is distinct from
         (put_checkpoint.parent_id, put_checkpoint.step, put_checkpoint.next_node, put_checkpoint.schema_version,
           described)
         or perch.assemble_state(tenant, thread.thread_no, known.value_nos) is distinct from put_checkpoint.state then
        perform perch.fail('PE409', 'this id is that of another checkpoint', jsonb_build_object('id', made),
          'Leave id out, and the checkpoint gets one of its own.');
      end if;
      return made;
    end if;
  end if;

  if put_checkpoint.expected_head is distinct
    from coalesce(thread.head_id, nobody) and put_checkpoint.expected_head is not null then
    perform perch.fail('PE409', 'the head of the thread is another one',
      jsonb_build_object('thread_id', put_checkpoint.thread_id, 'expected_head', put_checkpoint.expected_head, 'head',
        thread.head_id),
      'Read the latest checkpoint and decide again.');
  end if;

  -- The parent, or else the head, is where unchanged values are looked for. (Under row level security no index serves a
  -- comparison with coalesce(…).)
  near_id := coalesce(put_checkpoint.parent_id, thread.head_id);
  select c.value_nos into near from perch.stored_checkpoints c
   where c.tenant_id = tenant and c.thread_no = thread.thread_no and c.id = near_id;
  if not found and put_checkpoint.parent_id is not null then
    perform perch.fail('PE404', 'the parent is no checkpoint of this thread',
      jsonb_build_object('thread_id', put_checkpoint.thread_id, 'parent_id', put_checkpoint.parent_id));
  end if;

  with parts as materialized (
    select e.key, e.value::text as json_text
      from jsonb_each(case jsonb_typeof(put_checkpoint.state) when 'object' then put_checkpoint.state end) e
    union all
    select null, put_checkpoint.state::text where jsonb_typeof(put_checkpoint.state) <> 'object'
  ), compared as (
    select p.key, p.json_text, v.no
      from parts p
      left join (
        select x.* from unnest(near) u (no)
         cross join lateral (
           select x.* from perch.checkpoint_values x
            where x.tenant_id = tenant and x.thread_no = thread.thread_no and x.no = u.no
           offset 0
         ) x
      ) v
        on v.key is not distinct from p.key
       and perch.assemble_json(v.tenant_id, v.thread_no, v.json_text, v.pieces) = p.json_text
  )
  select array_agg(c.no order by c.no) filter (where c.no is not null),
         array_agg(c.key) filter (where c.no is null), array_agg(c.json_text)
           filter (where c.no is null), sum(octet_length(c.json_text))
    into kept, keys, jsons, size
    from compared c;
  perform perch.check_state_size(size + octet_length(described::text));
  perform perch.check_numbers(j::jsonb, j, 'the state') from unnest(jsons) j where perch.may_have_long_number(j);
  perform perch.check_numbers(described, described::text, 'metadata');

  if made is null then
    made := perch.uuid_v7(thread.newest_id);
    thread.newest_id := made;
  end if;
  insert into perch.checkpoint_values (tenant_id, thread_no, no, key, json_text)
  select tenant, thread.thread_no, thread.last_value_no + g.nth, g.key, g.json_text
    from unnest(keys, jsons) with ordinality g (key, json_text, nth)
   where octet_length(g.json_text) < 768;
  for nth in 1 .. coalesce(cardinality(jsons), 0) loop
    if octet_length(jsons[nth]) >= 768 then
      perform perch.add_long_value(tenant, thread.thread_no, thread.last_value_no + nth, keys[nth], null, jsons[nth]);
    end if;
  end loop;
  insert into perch.stored_checkpoints (tenant_id, thread_no, id, parent_id, seq, step, schema_version, next_node,
    metadata, value_nos)
  values (tenant, thread.thread_no, made, put_checkpoint.parent_id, thread.last_seq + 1, put_checkpoint.step,
          put_checkpoint.schema_version, put_checkpoint.next_node, described,
          coalesce(kept, '{}') || array(select thread.last_value_no + n
            from generate_series(1, coalesce(cardinality(keys), 0)) n));
  update perch.threads t
     set head_id = made, newest_id = thread.newest_id, last_seq = t.last_seq + 1,
         last_value_no = t.last_value_no + coalesce(cardinality(keys), 0)
   where t.tenant_id = tenant and t.thread_id = put_checkpoint.thread_id and t.namespace = '';
  return made;
end
$$;
grant execute on function perch.put_checkpoint to perch_app;

comment on function perch.put_checkpoint(text, jsonb, bigint, uuid, text, integer, jsonb, uuid, uuid, bigint) is
  'Appends a checkpoint to a thread of the current tenant, in the caller''s transaction; it becomes the thread''s head. Returns its id: a new UUIDv7, greater than every other made in the thread, or the one passed as id, with which the same call can be repeated. No parent_id: a root. expected_head: the put fails unless that is the head (a UUID of zeros: unless the thread is empty). fencing_token: it fails unless the lease that perch.acquire_lease gave it with is the last; without one it fails while anybody has a lease on the thread. Errors: PE401, PE404 when the parent is none of this thread, PE409 for another head, a lost lease, or an id used for something else, PE413, PE422. Example: select perch.put_checkpoint(thread_id => ''run-1'', state => ''{"messages": []}'', step => 1);';
