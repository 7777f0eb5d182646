-- Of perch.is_datetime, what a change may have as its time: perch.stamp holds all of it, and "before all edits" is
-- 1970.
create or replace function perch.is_time(value text)
returns boolean
language sql immutable parallel safe
return perch.is_datetime(value) and value > '1970' collate "C" and length(value) > 10;

comment on function perch.is_time(text) is
  'Private. Whether a change, or a field, may have this as its time: a time with an offset, of the years 1970 to 9999.';
