create or replace function perch.update_checkpoint_state(
  thread_id text, parent_id uuid, state jsonb,
  schema_version integer default null, metadata jsonb default '{}', expected_head uuid default null,
    fencing_token bigint default null
)
returns uuid
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  tenant constant text := perch.require_tenant();
  parent record;
begin
  select c.step, c.next_node, c.schema_version into parent
    from perch.find_checkpoint(tenant, update_checkpoint_state.thread_id, update_checkpoint_state.parent_id) c;
  if not found then
    perform perch.fail('PE404', 'the parent is no checkpoint of this thread',
      jsonb_build_object('thread_id', update_checkpoint_state.thread_id, 'parent_id',
        update_checkpoint_state.parent_id));
  end if;
  return perch.put_checkpoint(
    thread_id => update_checkpoint_state.thread_id,
    state => update_checkpoint_state.state,
    step => parent.step + 1,
    parent_id => update_checkpoint_state.parent_id,
    next_node => parent.next_node,
    schema_version => coalesce(update_checkpoint_state.schema_version, parent.schema_version),
    metadata => update_checkpoint_state.metadata,
    expected_head => update_checkpoint_state.expected_head,
    fencing_token => update_checkpoint_state.fencing_token);
end
$$;
grant execute on function perch.update_checkpoint_state to perch_app;

comment on function perch.update_checkpoint_state(text, uuid, jsonb, integer, jsonb, uuid, bigint) is
  'Appends a child of a checkpoint with another state, the next step and the same next node; it becomes the head. Returns its id. schema_version: that of the parent unless given. Errors: PE401, PE404 when the parent is none of this thread, PE409, PE413, PE422. Example: select perch.update_checkpoint_state(thread_id => ''run-1'', parent_id => c.id, state => c.state || ''{"approved": true}'') from perch.latest_checkpoint(thread_id => ''run-1'') c;';
