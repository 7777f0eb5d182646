create or replace function perch.presence_of(space_id text, app_id text, table_name text, record_id text, kind text)
returns table (entry_key bytea, entry bytea, set_at bigint, keep_ms bigint, user_id text, held_ms bigint)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select p.entry_key, p.entry, p.set_at, ceil(extract(epoch from p.expires_at - clock_timestamp()) * 1000)::bigint,
         p.user_id, greatest(0, ceil(extract(epoch from p.held_until - clock_timestamp()) * 1000))::bigint
    from perch.presence p
   where p.space_id = presence_of.space_id and p.app_id = presence_of.app_id and p.table_name = presence_of.table_name
     and p.record_id = presence_of.record_id and p.kind = presence_of.kind
     and p.expires_at > clock_timestamp()
$$;
grant execute on function perch.presence_of to perch_worker;

comment on function perch.presence_of(text, text, text, text, text) is
  'For perch_worker: the entries of a presence room that still count, and for how many milliseconds; whose key each is, and for how long theirs alone.';
