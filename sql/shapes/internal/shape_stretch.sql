-- How far one look goes. Where nothing of the tables of sub-selects changes, the rows in them are the same throughout,
-- and each entry is told for itself. A transaction that changes some is a stretch of its own, so that what it moved is
-- told as its doing; behind many of them comes a stretch of all, for whoever has much to catch up with.
create or replace function perch.shape_stretch(
  filter jsonb, start bigint, "limit" bigint, head bigint, snapshot pg_snapshot, out stop bigint, out moves boolean
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  max_single constant integer := 20;
  tables jsonb[];
  found record;
begin
  stop := "limit";
  moves := false;
  select array_agg(json_build_object('app', (t.synced).app_id, 'table', (t.synced).table_name, 'spaces',
           t.spaces)::jsonb)
    into tables
    from perch.filter_selects(filter, true, true) s cross join lateral perch.selected_table(s.found) t;
  if tables is null then
    return;
  end if;
  select min(l.position) as first, count(distinct l.txid) as count, (array_agg(l.txid order by l.position))[1] as txid
    into found
    from perch.sync_changes l
   where l.position > start and l.position <= "limit" and not pg_visible_in_snapshot(l.txid, snapshot)
     and exists (select from unnest(tables) t where t ->> 'app' = l.app_id and t ->> 'table' = l.table_name
       and t -> 'spaces' ? l.space_id);
  if found.first is null then
    return;
  end if;
  -- Where the transaction of the first one begins.
  select coalesce(max(l.position), start) + 1 into stop
    from perch.sync_changes l where l.position > start and l.position < found.first and l.txid <> found.txid;
  if stop > start + 1 then
    stop := stop - 1;
    return;
  end if;
  moves := true;
  if found.count > max_single then
    select l.position, l.txid into found.first, found.txid
      from perch.sync_changes l where l.position <= "limit" order by l.position desc limit 1;
  end if;
  -- And where it ends. No transaction goes over the head; what comes next may be nothing that the user sees.
  select least(head, min(l.position) - 1) into stop
    from perch.sync_changes l where l.position > found.first and l.txid <> found.txid;
end
$$;

comment on function perch.shape_stretch(jsonb, bigint, bigint, bigint, pg_snapshot) is
  'Private. Behind a position, and not further than limit but for the rest of a transaction: up to where a filter is evaluated at once (stop), and whether rows may move there that did not change themselves.';
