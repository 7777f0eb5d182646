-- An array's text form quotes its elements, so that no two lists of parts look alike; md5 is the same on every build, which
-- Postgres' own hash functions are not. One expression, as perch.setting.
create or replace function perch.lock_key(parts text[])
returns bigint
language sql immutable parallel safe
return ('x' || left(md5(parts::text), 16))::bit(64)::bigint;

comment on function perch.lock_key(text[]) is
  'Private. The 64-bit key of an advisory lock on what the parts name.';
