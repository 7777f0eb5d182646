create or replace function perch.marked_last(message text)
returns text
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$ select left(message, -2) || ',"last":true}}' $$;

comment on function perch.marked_last(text) is 'Private. An operation of a shape that is the last of its transaction.';
