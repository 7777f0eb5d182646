create or replace function perch.time_text(moment timestamptz)
returns text
language sql stable parallel safe
return to_char(timezone('UTC', moment), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');
grant execute on function perch.time_text to perch_worker;

comment on function perch.time_text(timestamptz) is
  'Private. A time as text of a fixed width, whose byte order is the order of time: 2026-01-01T10:00:00.000000Z.';
