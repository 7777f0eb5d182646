-- Of the clock, so that a thread that was deleted and made again does not give out a token that somebody still holds.
create or replace function perch.next_token(after bigint)
returns bigint
language sql volatile
set search_path = pg_catalog, pg_temp
as $$
  select greatest(next_token.after + 1, floor(extract(epoch from clock_timestamp()) * 1000000)::bigint)
$$;

comment on function perch.next_token(bigint) is
  'Private. A fencing token greater than after, and than every one given out before.';
