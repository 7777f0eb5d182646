-- Everything else is a fault of the text, or of the row that it was evaluated on.
create or replace function perch.is_servers_code(code text)
returns boolean
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
return left(code, 2) = any ('{25,40,53,55,57,58,XX}');
grant execute on function perch.is_servers_code to perch_worker;

comment on function perch.is_servers_code(text) is
  'Private. Whether an error (its SQLSTATE) in evaluating an expression of the app is one of the server or of others at work: a conflict, a time-out, no room. It is raised, and not taken for a fault of the row.';
