-- The rows of a thread are locked until the caller commits, and whoever works on it waits. So a call for all threads
-- looks before it locks, which most threads have no need of, and ends once it has pruned in so many: what it has done
-- it does not find again. What is put into a thread meanwhile is seen by prune_thread, which looks again under its
-- lock.
create or replace function perch.prune_checkpoints(
  keep_last integer default null, keep_for interval default null, thread_id text default null,
    fencing_token bigint default null
)
returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  tenant constant text := perch.require_tenant();
  max_threads constant integer := 200;
  threads integer := 0;
  pruned bigint := 0;
  here bigint;
  found_thread text;
begin
  if perch.catches_undone() then
    begin
      return perch.prune_checkpoints(keep_last, keep_for, thread_id, fencing_token);
    exception when serialization_failure then
      perform perch.fail_undone(sqlerrm);
    end;
  end if;
  if prune_checkpoints.keep_last is null and prune_checkpoints.keep_for is null
     or prune_checkpoints.keep_last < 1 or prune_checkpoints.keep_for < '0' then
    perform perch.fail('PE422', 'say what to keep: keep_last (1 or more), keep_for (not negative), or both',
      jsonb_build_object('keep_last', prune_checkpoints.keep_last, 'keep_for', prune_checkpoints.keep_for),
      'For example: perch.prune_checkpoints(keep_last => 100).');
  end if;
  if prune_checkpoints.fencing_token is not null then
    if prune_checkpoints.thread_id is null then
      perform perch.fail('PE422', 'a fencing_token is that of one thread: thread_id is missing',
        jsonb_build_object('argument', 'thread_id'),
        'Name the thread whose lease it is, or leave fencing_token out.');
    end if;
    perform perch.require_lease(tenant, prune_checkpoints.thread_id, prune_checkpoints.fencing_token);
  end if;
  for found_thread in
    select distinct t.thread_id
      from perch.threads t
     where t.tenant_id = tenant and (prune_checkpoints.thread_id is null or t.thread_id = prune_checkpoints.thread_id)
     order by t.thread_id
  loop
    -- A thread somebody is working on is left for the next time; asked for by name it is an error.
    continue when prune_checkpoints.thread_id is null
      and (perch.is_leased(tenant, found_thread)
           or not exists (select from perch.doomed_checkpoints(tenant, found_thread, prune_checkpoints.keep_last,
             prune_checkpoints.keep_for)));
    here := perch.prune_thread(tenant, found_thread, prune_checkpoints.keep_last, prune_checkpoints.keep_for,
      prune_checkpoints.fencing_token is not null);
    if here is null and prune_checkpoints.thread_id is not null then
      perform perch.require_no_lease(tenant, found_thread);
    end if;
    pruned := pruned + coalesce(here, 0);
    threads := threads + 1;
    exit when threads = max_threads;
  end loop;
  return pruned;
end
$$;
grant execute on function perch.prune_checkpoints to perch_app;

comment on function perch.prune_checkpoints(integer, interval, text, bigint) is
  'Forgets older checkpoints of one thread of the current tenant, or of all; returns how many. Of all threads it prunes 200 in a call, so that nobody who works on them waits for long: call it again, in another transaction, until it returns 0. Kept are the last keep_last of each thread, those younger than keep_for, the head, and whatever one that is kept needs in order to be read or resumed: values, the checkpoints on which incremental channels build, and those of subgraphs. The parent_id of a kept checkpoint may name one that is gone. Threads on which somebody has a lease are left out; one that is named needs the fencing_token of its lease then. Errors: PE401, PE409 for a lease, PE422 when neither is given. Example: select perch.prune_checkpoints(keep_last => 20, keep_for => ''7 days'');';
