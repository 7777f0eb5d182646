create or replace function perch.console_checkpoint(
  tenant_id text, thread_id text, checkpoint_id uuid, namespace text default ''
)
returns json
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  max_length constant integer := 1000000;
  c perch.stored_checkpoints;
  state text;
begin
  perform perch.require_console();
  select x.* into c
    from perch.threads t
    join perch.stored_checkpoints x on x.tenant_id = t.tenant_id and x.thread_no = t.thread_no
   where t.tenant_id = console_checkpoint.tenant_id and t.thread_id = console_checkpoint.thread_id
     and t.namespace = console_checkpoint.namespace and t.thread_no > 0 and x.id = console_checkpoint.checkpoint_id;
  if not found then
    perform perch.fail('PE404', 'there is no such checkpoint',
      jsonb_build_object('thread_id', console_checkpoint.thread_id, 'id', console_checkpoint.checkpoint_id));
  end if;
  state := perch.assemble_state(c.tenant_id, c.thread_no, c.value_nos)::text;
  return json_build_object('id', c.id, 'parent_id', c.parent_id, 'step', c.step, 'next_node', c.next_node,
    'created_at', perch.time_text(c.created_at), 'schema_version', c.schema_version, 'length', length(state),
    'state', case when length(state) <= max_length then state::json end);
end
$$;
grant execute on function perch.console_checkpoint to perch_worker;

comment on function perch.console_checkpoint(text, text, uuid, text) is
  'For perch_worker, of the console: one checkpoint with its state, which is null when it is over a million letters. Errors: PE401, PE404.';
