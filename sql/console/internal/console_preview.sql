-- The size is looked at first: to print a long value only to cut it off would cost all of it.
create or replace function perch.console_preview(data jsonb, size integer, max_length integer)
returns text
language sql immutable parallel safe
return case when size > 65536 or pg_column_size(data) > 65536 then null else left(data::text, max_length) end;
grant execute on function perch.console_preview to perch_worker;

comment on function perch.console_preview(jsonb, integer, integer) is
  'Private. The beginning of a value as text, for a list; null of one that is long.';
