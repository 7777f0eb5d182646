-- A fixed width, so that the byte order of stamps is the order of (time, client), and no client comes before any client.
create or replace function perch.stamp(moment timestamptz, client_id text default null)
returns text
language sql stable parallel safe
return to_char(timezone('UTC', moment), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || coalesce(' ' || client_id, '');

comment on function perch.stamp(timestamptz, text) is
  'Private. A time, and who wrote at it, as text: 2026-01-01T10:00:00.000000Z client. Compares byte by byte.';
