-- Postgres takes any letters with a number behind them for a time zone, in the way of POSIX ("abc5", "a/b5c"), and a
-- connection keeps each that it was ever told, in some 23 kB, until it ends. Real ones have no digits in them, but for
-- a few. So wherever a digit follows a letter it is one that was made up, but in these words, each from its beginning
-- to its end: dates with months by name or as Julian days, the T of ISO 8601 behind a date, zones with whole hours.
create or replace function perch.has_made_up_zone(value text)
returns boolean
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
  months constant text := '(january|february|march|april|may|june|july|august|september|october|november|december'
    '|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)';
  begins constant text := '(^|[] "{(,[])';
  ends constant text := '(?=$|[] "}),])';
begin
  return value ~ '[[:alpha:]>][-+]?[0-9]' and regexp_replace(value, concat(
      '^T[0-9]{1,2}:|', begins, '([0-9]{1,6}-[0-9]{1,2}-[0-9]{1,2}T[0-9]|[0-9]{8}T[0-9]|(', months,
      '-[0-9]{1,2}-[0-9]{1,6}|[0-9]{1,4}-', months, '-[0-9]{1,4}|j[0-9]{6,8}|(utc|gmt|etc/gmt|z)[-+]?[0-9]{1,2}'
      '|est5edt|cst6cdt|mst7mdt|pst8pdt)', ends, ')'), ' ', 'gi')
    ~ '[[:alpha:]>][-+]?[0-9]';
end
$$;

comment on function perch.has_made_up_zone(text) is
  'Private. Whether a text, read as times, may name time zones that nobody knows.';
