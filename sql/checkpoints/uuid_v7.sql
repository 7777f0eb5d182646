-- The first 60 bits that are not the version count 1/4096 milliseconds since 1970: 48 bits of milliseconds and 12 of their
-- fraction (RFC 9562, 6.2, method 3), which is also how Postgres 18 makes its own. A clock that stands still or goes back
-- does not matter to whoever passes the last id: the next one counts on from it.
create or replace function perch.uuid_v7(after uuid default null)
returns uuid
language sql volatile
set search_path = pg_catalog, pg_temp
as $$
  select (left(t.hex, 12) || '7' || right(t.hex, 3) || right(replace(gen_random_uuid()::text, '-', ''), 16))::uuid
    from (
      select lpad(to_hex(greatest(
               floor(extract(epoch from clock_timestamp()) * 4096000)::bigint,
               ('x' || left(a.hex, 12) || substr(a.hex, 14, 3))::bit(60)::bigint + 1)), 15, '0') as hex
        from (select replace(uuid_v7.after::text, '-', '') as hex) a
    ) t
$$;

comment on function perch.uuid_v7(uuid) is
  'Private. A new UUID of version 7, greater than after (also one of version 7) when that is given.';
