create or replace function perch.leave_presence(node_id uuid)
returns void
language sql volatile
set search_path = pg_catalog, pg_temp
as $$
  delete from perch.presence_nodes n where n.node_id = leave_presence.node_id
$$;
grant execute on function perch.leave_presence to perch_worker;

comment on function perch.leave_presence(uuid) is
  'For perch_worker: this node serves no presence rooms any more.';
