-- Not from the view: while the tables are small the planner may well begin with the id, which is the last part of the
-- key, and read every checkpoint of the tenant; and it may keep that plan.
create or replace function perch.find_checkpoint(tenant_id text, thread_id text, id uuid)
returns setof perch.checkpoints
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
rows 1
as $$
declare
  number bigint;
begin
  select t.thread_no into number
    from perch.threads t
   where t.tenant_id = find_checkpoint.tenant_id and t.thread_id = find_checkpoint.thread_id and t.namespace = '';
  return query
    select c.tenant_id, find_checkpoint.thread_id, c.id, c.parent_id, c.step,
           perch.assemble_state(c.tenant_id, c.thread_no, c.value_nos),
           c.next_node, c.schema_version, c.metadata, c.created_at, ''::text, c.seq
      from perch.stored_checkpoints c
     where c.tenant_id = find_checkpoint.tenant_id and c.thread_no = number and c.id = find_checkpoint.id;
end
$$;

comment on function perch.find_checkpoint(text, text, uuid) is
  'Private. A checkpoint of a thread by its id, as perch.checkpoints shows it.';
