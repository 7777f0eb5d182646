-- A fixed width and always a space, so that the byte order of stamps is the order of (time, client), where no client
-- comes before any client; and so that a stamp of no client is not taken for a bare time, whose client stands beside
-- it. A time with another width would be in the wrong place among all others, for ever: it is refused, whoever lets it
-- come so far.
create or replace function perch.stamp(moment timestamptz, client_id text)
returns text
language sql stable parallel safe
return case when moment < '0001-01-01T00:00:00Z' or moment >= '10000-01-01T00:00:00Z' then perch.refuse_stamp(moment)
            else to_char(timezone('UTC', moment), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || ' ' || coalesce(client_id,
              '') end;

comment on function perch.stamp(timestamptz, text) is
  'Private. A time, a space, and who wrote at it (nothing for no client): 2026-01-01T10:00:00.000000Z client. Compares byte by byte. PE422 outside the years 1 to 9999.';
