create or replace function perch.fork_checkpoint(
  thread_id text, id uuid, into_thread text default null, metadata jsonb default null, fencing_token bigint default null
)
returns uuid
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  tenant constant text := perch.require_tenant();
  target constant text := coalesce(fork_checkpoint.into_thread, fork_checkpoint.thread_id);
  elsewhere constant boolean := target <> fork_checkpoint.thread_id;
  source perch.checkpoints;
begin
  select c.* into source from perch.get_checkpoint(fork_checkpoint.thread_id, fork_checkpoint.id) c;
  if source.id is null then
    perform perch.fail('PE404', 'there is no such checkpoint in this thread',
      jsonb_build_object('thread_id', fork_checkpoint.thread_id, 'id', fork_checkpoint.id));
  end if;
  return perch.put_checkpoint(
    thread_id => target,
    state => source.state,
    step => source.step,
    parent_id => case when not elsewhere then source.id end,
    next_node => source.next_node,
    schema_version => source.schema_version,
    metadata => coalesce(fork_checkpoint.metadata, source.metadata)
      || jsonb_build_object('forked_from', jsonb_strip_nulls(jsonb_build_object(
           'thread_id', case when elsewhere then fork_checkpoint.thread_id end, 'id', source.id))),
    -- A thread that has a history of its own is not written over.
    expected_head => case when elsewhere then '00000000-0000-0000-0000-000000000000'::uuid end,
    fencing_token => fork_checkpoint.fencing_token);
end
$$;
grant execute on function perch.fork_checkpoint to perch_app;

comment on function perch.fork_checkpoint(text, uuid, text, jsonb, bigint) is
  'Makes a copy of a checkpoint the head, as its child, so that the thread goes on from there on a branch of its own; or the root of another, empty thread. Returns the id of the copy, whose metadata (those of the original unless given) say what it was forked_from. fencing_token: of the thread that gets the copy, as in perch.put_checkpoint. Errors: PE401, PE404 when there is no such checkpoint, PE409 when into_thread is not empty or for a lease, PE422 for a LangGraph thread.';
