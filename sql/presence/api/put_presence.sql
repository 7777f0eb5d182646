-- Lock order: the head, then the entries. All writers take the row of the head first and hold it until commit: so
-- change_ids are in commit order, and two calls cannot deadlock over the entries. They are few, one for each node and
-- interval.
create or replace function perch.put_presence(
  node_id uuid, space_ids text[], app_ids text[], table_names text[], record_ids text[], kinds text[],
  entry_keys bytea[], entries bytea[], set_ats bigint[], keep_ms bigint[],
  user_ids text[] default null, max_user_bytes bigint default null, brought_by_ids text[] default null
)
returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  taken bigint;
  held_for constant interval := '30 seconds';
begin
  -- A process of an earlier version does not say who brought an entry.
  brought_by_ids := coalesce(brought_by_ids, user_ids);
  -- What is not persisted may be lost, so nobody waits for the disk, least of all with the lock that NOTIFY takes.
  if 'persisted' <> all (kinds) then
    perform set_config('synchronous_commit', 'off', true);
  end if;
  update perch.presence_head h set change_id = h.change_id + 1 returning h.change_id into taken;

  -- Of one sender's entries with the same time the last counts; of two senders', the first.
  insert into perch.presence as p
    (space_id, app_id, table_name, record_id, kind, entry_key, entry, set_at, node_id, change_id, expires_at, user_id,
      held_until, brought_by)
  select distinct on (e.space_id, e.app_id, e.table_name, e.record_id, e.kind, e.entry_key)
         e.space_id, e.app_id, e.table_name, e.record_id, e.kind, e.entry_key, e.entry, e.set_at, put_presence.node_id,
           taken,
         clock_timestamp() + make_interval(secs => e.keep / 1000.0),
         e.user_id, case when e.user_id is not null then clock_timestamp() + held_for end,
         e.brought_by
    from unnest(space_ids, app_ids, table_names, record_ids, kinds, entry_keys, entries, set_ats, keep_ms, user_ids,
                brought_by_ids)
           with ordinality
           as e (space_id, app_id, table_name, record_id, kind, entry_key, entry, set_at, keep, user_id, brought_by,
                 ordinal)
   order by e.space_id, e.app_id, e.table_name, e.record_id, e.kind, e.entry_key, e.set_at desc, e.ordinal desc
  on conflict on constraint presence_pkey do update
    set entry = excluded.entry, set_at = excluded.set_at, node_id = excluded.node_id, change_id = excluded.change_id,
        expires_at = excluded.expires_at, user_id = excluded.user_id, held_until = excluded.held_until,
        brought_by = excluded.brought_by
    -- As in the nodes' memory (src/rooms/presence-keys.ts): what has expired stands in nobody's way; a key that its
    -- user has just set is theirs.
    where p.expires_at < clock_timestamp()
       or (p.set_at < excluded.set_at
           or p.set_at = excluded.set_at and p.node_id = excluded.node_id and p.entry <> excluded.entry
           -- The same again: its user is still there, which others are told of, too.
           or p.set_at = excluded.set_at and p.user_id = excluded.user_id and p.entry = excluded.entry)
      and (p.held_until is null or p.held_until < clock_timestamp() or p.user_id is not distinct from excluded.user_id);

  -- Of what is persisted each user keeps the newest that they have room for. It counts for whoever brought it: what a
  -- client hands on is nobody's key.
  if 'persisted' = any (kinds) and max_user_bytes is not null then
    delete from perch.presence p
     using (select x.space_id, x.app_id, x.table_name, x.record_id, x.entry_key,
                   sum(octet_length(x.entry) + 300) over (partition by x.brought_by
                     order by x.set_at desc, x.change_id desc, x.entry_key) as bytes
              from perch.presence x
             where x.kind = 'persisted' and x.brought_by = any (brought_by_ids)) kept
     where kept.bytes > max_user_bytes
       and p.space_id = kept.space_id and p.app_id = kept.app_id and p.table_name = kept.table_name
       and p.record_id = kept.record_id and p.kind = 'persisted' and p.entry_key = kept.entry_key;
  end if;

  -- Whoever brings something new takes more of the old away: it never grows far beyond what is shown.
  delete from perch.presence p
   where p.ctid = any (array(
           select x.ctid from perch.presence x
            -- Told once, in a query of its own: no index is searched for what may be another time at each row.
            where x.expires_at < (select clock_timestamp())
            order by x.expires_at
            limit 1000 + cardinality(entry_keys)))
     -- Another may have set it anew meanwhile.
     and p.expires_at < clock_timestamp();

  perform pg_notify('perch_presence', perch.presence_notification(taken));
  return taken;
end
$$;
grant execute on function perch.put_presence to perch_worker;

comment on function perch.put_presence(uuid, text[], text[], text[], text[], text[], bytea[], bytea[], bigint[], bigint[], text[], bigint, text[]) is
  'For perch_worker: stores entries of presence rooms (kind ephemeral or persisted), each for keep_ms, unless there is a newer one of the same key, or another user set it within 30 s (user_ids; null: nobody''s key; the same entry again makes it theirs for as long again), and tells the other nodes by a notification on perch_presence, which has a number in it and no content. One array element an entry. max_user_bytes: what is persisted at most of what each user has brought (brought_by_ids; null: user_ids), at 300 bytes an entry and its own; the oldest goes.';
