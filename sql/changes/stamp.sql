-- A fixed width and always a space, so that the byte order of stamps is the order of (time, client), where no client comes before
-- any client; and so that a stamp of no client is not taken for a bare time, whose client stands beside it.
create or replace function perch.stamp(moment timestamptz, client_id text)
returns text
language sql stable parallel safe
return to_char(timezone('UTC', moment), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || ' ' || coalesce(client_id, '');

comment on function perch.stamp(timestamptz, text) is
  'Private. A time, a space, and who wrote at it (nothing for no client): 2026-01-01T10:00:00.000000Z client. Compares byte by byte.';
