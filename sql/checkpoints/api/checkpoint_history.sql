create or replace function perch.checkpoint_history(thread_id text, max_count integer default 100,
  before uuid default null)
returns setof perch.checkpoints
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
  tenant constant text := perch.require_tenant();
  number bigint;
  before_seq bigint;
begin
  perform perch.check_count(checkpoint_history.max_count);
  select t.thread_no, t.last_seq + 1 into number, before_seq
    from perch.threads t
   where t.tenant_id = tenant and t.thread_id = checkpoint_history.thread_id and t.namespace = '';
  if checkpoint_history.before is not null then
    select c.seq into before_seq
      from perch.stored_checkpoints c
     where c.tenant_id = tenant and c.thread_no = number and c.id = checkpoint_history.before;
    if not found then
      perform perch.fail('PE404', 'before is no checkpoint of this thread',
        jsonb_build_object('thread_id', checkpoint_history.thread_id, 'before', checkpoint_history.before));
    end if;
  end if;
  return query
    select c.tenant_id, checkpoint_history.thread_id, c.id, c.parent_id, c.step,
           perch.assemble_state(c.tenant_id, c.thread_no, c.value_nos),
           c.next_node, c.schema_version, c.metadata, c.created_at, ''::text, c.seq
      from perch.stored_checkpoints c
     where c.tenant_id = tenant and c.thread_no = number and c.seq > 0 and c.seq < before_seq
     order by c.seq desc
     limit checkpoint_history.max_count;
end
$$;
grant execute on function perch.checkpoint_history to perch_app;

comment on function perch.checkpoint_history(text, integer, uuid) is
  'The checkpoints of a thread of the current tenant, on all its branches, the one committed last first; those before another to go on from a page. No row when there is no such thread. Errors: PE401, PE404 when before is none of this thread, PE422 when max_count is not between 1 and 10000. Example: select id, parent_id, step from perch.checkpoint_history(thread_id => ''run-1'', max_count => 20);';
