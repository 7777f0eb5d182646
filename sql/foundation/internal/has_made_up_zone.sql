-- Postgres takes any letters with a number behind them for a time zone, in the way of POSIX ("abc5"), and a connection
-- keeps each that it was ever told, in some 23 kB, until it ends. Real ones have no digits in them, but for these few.
-- A month before a day, and the T of ISO 8601, are no zones.
create or replace function perch.has_made_up_zone(value text)
returns boolean
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
  months constant text := '(january|february|march|april|may|june|july|august|september|october|november|december'
    '|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)';
  zones constant text := '(utc|gmt|etc/gmt|z)[-+]?[0-9]{1,2}\M(?!:)|(est5edt|cst6cdt|mst7mdt|pst8pdt)\M';
begin
  return value ~ '[[:alpha:]>][-+]?[0-9]' and regexp_replace(value,
      concat('^T[0-9]{1,2}:|[-/.][0-9]{1,2}T[0-9]|[0-9]{8}T[0-9]|\m', months, '[-/. ]?[0-9]{1,2}[-/. ,]',
        '|[0-9]{1,4}[-/. ]', months, '[-/. ][0-9]|\mj[0-9]{6,8}\M|\m', zones), ' ', 'gi')
    ~ '[[:alpha:]>][-+]?[0-9]';
end
$$;

comment on function perch.has_made_up_zone(text) is
  'Private. Whether a text, read as times, may name time zones that nobody knows.';
