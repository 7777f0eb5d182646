-- A worker calls this before it listens, at its start and whenever its connection was made anew. That something went
-- back is certain where an entry that was read from the log is not in it any more, and was not pruned: what was seen
-- was committed. Where the server is another it cannot be known what is gone (what was committed last may be), and a
-- new epoch costs each reader one snapshot.
--
-- Entries seen in another epoch say nothing: whoever began this one may have found them missing.
create or replace function perch.check_history(seen_epoch text default null, seen jsonb default '{}')
returns text
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  log perch.log_epoch;
  here constant text := perch.server_identity();
  reason text;
  lost jsonb := '{}';
begin
  select * into log from perch.log_epoch;
  if here is null then
    return null;
  end if;
  if seen_epoch = log.epoch::text then
    select coalesce(json_object_agg(s.key, json_build_object('seen', p.seq, 'head', coalesce(h.seq, 0)))::jsonb, '{}')
      into lost
      from jsonb_each(seen) s
     cross join lateral (select (s.value ->> 0)::bigint, s.value ->> 1) p (seq, mark)
      left join perch.space_heads h on h.space_id = s.key
      left join perch.sync_changes e on e.space_id = s.key and e.seq = p.seq
     where h.space_id is null or p.seq > h.seq
        or p.seq = h.oldest_seq - 1 and h.before_oldest <> p.mark
        or p.seq >= h.oldest_seq
           and perch.entry_mark(e.created_at) is distinct from p.mark;
  end if;
  if log.server <> here then
    reason := 'server';
  elsif lost <> '{}' then
    reason := 'entries';
  end if;
  if reason is not null or log.server is null then
    if not perch.begin_epoch(log.epoch::text, log.server, here, reason, lost) then
      return null;
    end if;
  end if;
  return reason;
end
$$;
grant execute on function perch.check_history to perch_worker;

comment on function perch.check_history(text, jsonb) is
  'For perch_worker: begins a new epoch when the database is another than the one the epoch began on, or went back. seen: where the caller last read the logs of some spaces, {"team": [42, "6616bd2139f9b"]} (perch.log_heads), in seen_epoch. Returns why: server (another server, timeline or database), entries (those that were seen are gone); null when nothing has happened. What is gone is noted: perch.last_epoch. Example: select perch.check_history();';
