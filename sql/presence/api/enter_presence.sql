-- Lock order: its own row; those of others are only tried.
--
-- A node that the others took for gone is as good as a new one: they are told of it again, and show it what they have.
create or replace function perch.enter_presence(node_id uuid)
returns table (others boolean, change_id bigint)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
rows 1
as $$
declare
  alive_for constant interval := '30 seconds';
  seen timestamptz;
begin
  select n.seen_at into seen from perch.presence_nodes n where n.node_id = enter_presence.node_id;
  insert into perch.presence_nodes as n (node_id) values (enter_presence.node_id)
  on conflict on constraint presence_nodes_pkey do update set seen_at = clock_timestamp();
  if seen is null or seen < clock_timestamp() - alive_for then
    delete from perch.presence_nodes n
     where n.node_id = any (array(
       select o.node_id from perch.presence_nodes o
        where o.seen_at < clock_timestamp() - 2 * alive_for and o.node_id <> enter_presence.node_id
          for update skip locked));
    perform pg_notify('perch_presence', perch.presence_notification(null));
  end if;
  return query
    select exists (select from perch.presence_nodes n
                    where n.node_id <> enter_presence.node_id and n.seen_at > clock_timestamp() - alive_for),
           h.change_id
      from perch.presence_head h;
end
$$;
grant execute on function perch.enter_presence to perch_worker;

comment on function perch.enter_presence(uuid) is
  'For perch_worker: says that this node serves presence rooms; to be repeated well within 30 s. Out: whether others do, and the last change_id.';
