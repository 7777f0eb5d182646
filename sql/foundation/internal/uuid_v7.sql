-- The first 60 bits that are not the version count 1/4096 milliseconds since 1970: 48 bits of milliseconds and 12 of
-- their fraction (RFC 9562, 6.2, method 3), which is also how Postgres 18 makes its own. A clock that stands still or
-- goes back does not matter to whoever passes the last id: the next one counts on from it.
create or replace function perch.uuid_v7(after uuid default null)
returns uuid
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  known constant text := replace(uuid_v7.after::text, '-', '');
  ticks constant bigint := greatest(
    floor(extract(epoch from clock_timestamp()) * 4096000)::bigint,
    ('x' || left(known, 12) || substr(known, 14, 3))::bit(60)::bigint + 1);
  hex constant text := lpad(to_hex(ticks), 15, '0');
begin
  return (left(hex, 12) || '7' || right(hex, 3) || right(replace(gen_random_uuid()::text, '-', ''), 16))::uuid;
end
$$;

comment on function perch.uuid_v7(uuid) is
  'Private. A new UUID of version 7, greater than after (also one of version 7) when that is given.';
