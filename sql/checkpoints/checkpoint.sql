-- The values are looked up one by one ("offset 0" stands in the way of anything else): a plan that reads all those of a thread and
-- drops most of them looks as good while the tables are small, and may be kept.
create or replace view perch.checkpoints with (security_invoker = true) as
  select c.tenant_id, t.thread_id, c.id, c.parent_id, c.step,
         (select coalesce(
                   (array_agg(perch.assemble_json(v.tenant_id, v.thread_no, v.json_text, v.pieces)::jsonb) filter (where v.key is null))[1],
                   jsonb_object_agg(v.key, case
                     when v.version is null then perch.assemble_json(v.tenant_id, v.thread_no, v.json_text, v.pieces)::jsonb
                     else perch.as_jsonb(v.type, perch.assemble_json(v.tenant_id, v.thread_no, v.json_text, v.pieces), v.bytes)
                   end) filter (where v.key is not null),
                   '{}')
            from unnest(c.value_nos) u (no)
           cross join lateral (
             select x.* from perch.checkpoint_values x
              where x.tenant_id = c.tenant_id and x.thread_no = c.thread_no and x.no = u.no
             offset 0
           ) v
           where v.json_text is not null or v.bytes is not null) as state,
         c.next_node, c.schema_version, c.metadata, c.created_at, t.namespace, c.seq
    from perch.stored_checkpoints c
    join perch.threads t on t.tenant_id = c.tenant_id and t.thread_no = c.thread_no and t.thread_no > 0;

comment on view perch.checkpoints is
  'The checkpoints of the current tenant: for each thread a tree of states, with the parent, the step and the node that is next. seq counts them in the order of their commits; namespace is empty but for the subgraphs of a LangGraph thread, whose states are their channels and have no schema version.';
