-- Lock order: the head, then the entries. All writers take the row of the head first and hold it until commit: so change_ids are in commit order, and two calls cannot
-- deadlock over the entries. They are few, one for each node and interval.
create or replace function perch.put_presence(
  node_id uuid, space_ids text[], app_ids text[], table_names text[], record_ids text[], kinds text[],
  entry_keys bytea[], entries bytea[], set_ats bigint[], keep_ms bigint[]
)
returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  taken bigint;
begin
  -- What is not persisted may be lost, so nobody waits for the disk, least of all with the lock that NOTIFY takes.
  if 'persisted' <> all (kinds) then
    perform set_config('synchronous_commit', 'off', true);
  end if;
  update perch.presence_head h set change_id = h.change_id + 1 returning h.change_id into taken;

  -- Of one sender's entries with the same time the last counts; of two senders', the first.
  insert into perch.presence as p
    (space_id, app_id, table_name, record_id, kind, entry_key, entry, set_at, node_id, change_id, expires_at)
  select distinct on (e.space_id, e.app_id, e.table_name, e.record_id, e.kind, e.entry_key)
         e.space_id, e.app_id, e.table_name, e.record_id, e.kind, e.entry_key, e.entry, e.set_at, put_presence.node_id, taken,
         clock_timestamp() + make_interval(secs => e.keep / 1000.0)
    from unnest(space_ids, app_ids, table_names, record_ids, kinds, entry_keys, entries, set_ats, keep_ms) with ordinality
           as e (space_id, app_id, table_name, record_id, kind, entry_key, entry, set_at, keep, ordinal)
   order by e.space_id, e.app_id, e.table_name, e.record_id, e.kind, e.entry_key, e.set_at desc, e.ordinal desc
  on conflict on constraint presence_pkey do update
    set entry = excluded.entry, set_at = excluded.set_at, node_id = excluded.node_id, change_id = excluded.change_id,
        expires_at = excluded.expires_at
    where p.set_at < excluded.set_at or p.expires_at < clock_timestamp()
       or p.set_at = excluded.set_at and p.node_id = excluded.node_id and p.entry <> excluded.entry;

  -- Whoever brings something new takes some of the old away: it never grows beyond what is shown.
  delete from perch.presence p
   using (select x.space_id, x.app_id, x.table_name, x.record_id, x.kind, x.entry_key
            from perch.presence x
           where x.expires_at < clock_timestamp()
           order by x.expires_at
           limit 1000) gone
   where p.space_id = gone.space_id and p.app_id = gone.app_id and p.table_name = gone.table_name
     and p.record_id = gone.record_id and p.kind = gone.kind and p.entry_key = gone.entry_key;

  perform pg_notify('perch_presence', jsonb_build_object('v', 1, 'seq', taken)::text);
  return taken;
end
$$;

comment on function perch.put_presence(uuid, text[], text[], text[], text[], text[], bytea[], bytea[], bigint[], bigint[]) is
  'For perch_worker: stores entries of presence rooms (kind ephemeral or persisted), each for keep_ms, unless there is a newer one of the same key, and tells the other nodes by a ring on perch_presence, which has a number in it and no content. One array element an entry.';
