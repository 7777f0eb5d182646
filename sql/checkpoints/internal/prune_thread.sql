-- A transaction that keeps its snapshot may begin before what goes here has gone, and write after: its put would share
-- values that are no more. So the rows of the thread are written, which undoes it then (40001). The other way about,
-- where this transaction keeps its snapshot: whoever put a checkpoint since has written the row, and undoes it; who put
-- writes of a task has only kept the row from going, and may share pieces that seem to be nobody's, or be in a
-- namespace that seems empty. So these two stay then, until the next time.
create or replace function perch.prune_thread(tenant_id text, thread_id text, keep_last integer, keep_for interval,
  with_lease boolean)
returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  sees_latest constant boolean := current_setting('transaction_isolation') like 'read %';
  numbers bigint[];
  doomed_nos bigint[];
  doomed_ids uuid[];
begin
  numbers := perch.lock_thread_rows(prune_thread.tenant_id, prune_thread.thread_id);
  if not prune_thread.with_lease and perch.is_leased(prune_thread.tenant_id, prune_thread.thread_id) then
    return null;
  end if;

  select array_agg(d.thread_no), array_agg(d.id) into doomed_nos, doomed_ids
    from perch.doomed_checkpoints(prune_thread.tenant_id, prune_thread.thread_id, prune_thread.keep_last,
      prune_thread.keep_for) d;
  if doomed_ids is null then
    return 0;
  end if;

  update perch.threads t set last_seq = t.last_seq
   where t.tenant_id = prune_thread.tenant_id and t.thread_no = any (numbers) and t.thread_no > 0;
  delete from perch.checkpoint_writes w
   using unnest(doomed_nos, doomed_ids) d (thread_no, id)
   where w.tenant_id = prune_thread.tenant_id and w.thread_no = d.thread_no and w.checkpoint_id = d.id;
  delete from perch.stored_checkpoints c
   using unnest(doomed_nos, doomed_ids) d (thread_no, id)
   where c.tenant_id = prune_thread.tenant_id and c.thread_no = d.thread_no and c.id = d.id;
  delete from perch.checkpoint_values v
   where v.tenant_id = prune_thread.tenant_id and v.thread_no = any (numbers)
     and not exists (
       select from (select distinct c.thread_no, u.no
                      from perch.stored_checkpoints c cross join unnest(c.value_nos) u (no)
                     where c.tenant_id = prune_thread.tenant_id and c.thread_no = any (numbers)) used
        where used.thread_no = v.thread_no and used.no = v.no);
  delete from perch.checkpoint_pieces p
   where sees_latest and p.tenant_id = prune_thread.tenant_id and p.thread_no = any (numbers)
     and not exists (
       select from (select v.thread_no, u.hash
                      from perch.checkpoint_values v cross join unnest(v.pieces) u (hash)
                     where v.tenant_id = prune_thread.tenant_id and v.thread_no = any (numbers)
                    union
                    select w.thread_no, u.hash
                      from perch.checkpoint_writes w cross join unnest(w.pieces) u (hash)
                     where w.tenant_id = prune_thread.tenant_id and w.thread_no = any (numbers)) used
        where used.thread_no = p.thread_no and used.hash = p.hash);
  -- Each run of a subgraph has a namespace of its own.
  delete from perch.threads t
   where sees_latest and t.tenant_id = prune_thread.tenant_id and t.thread_id = prune_thread.thread_id
     and t.namespace <> ''
     and not exists (select from perch.stored_checkpoints c
       where c.tenant_id = t.tenant_id and c.thread_no = t.thread_no)
     and not exists (select from perch.checkpoint_writes w
       where w.tenant_id = t.tenant_id and w.thread_no = t.thread_no);
  return cardinality(doomed_ids);
end
$$;

comment on function perch.prune_thread(text, text, integer, interval, boolean) is
  'Private. Forgets the checkpoints of a thread and its subgraphs that neither number nor age keeps and no kept one needs; returns how many, or null while somebody has a lease, unless the caller does.';
