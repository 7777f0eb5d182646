create or replace view perch.checkpoints with (security_invoker = true) as
  select c.tenant_id, t.thread_id, c.id, c.parent_id, c.step,
         perch.assemble_state(c.tenant_id, c.thread_no, c.value_nos) as state,
         c.next_node, c.schema_version, c.metadata, c.created_at, t.namespace, c.seq
    from perch.stored_checkpoints c
    join perch.threads t on t.tenant_id = c.tenant_id and t.thread_no = c.thread_no and t.thread_no > 0;

comment on view perch.checkpoints is
  'The checkpoints of the current tenant: for each thread a tree of states, with the parent, the step and the node that is next. seq counts them in the order of their commits; namespace is empty but for the subgraphs of a LangGraph thread, whose states are their channels and have no schema version.';
