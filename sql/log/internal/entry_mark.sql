-- The number of an entry does not identify it: a database that went back gives numbers out again. This does, but for one case in 2^32: the
-- microsecond in which its push was begun, and what it is about. It is made of what every row has, so a push pays nothing for it; and of
-- nothing that a dump, a copy or an upgrade changes. The text of a time depends on settings, its epoch does not.
create or replace function perch.entry_mark(
  created_at timestamptz, user_id text, app_id text, table_name text, record_id text, op text, op_id text
)
returns text
language sql stable parallel safe
return left(md5(concat_ws(E'\n', extract(epoch from created_at), user_id, app_id, table_name, record_id, op, op_id)), 8);

comment on function perch.entry_mark(timestamptz, text, text, text, text, text, text) is
  'Private. What a cursor remembers of the entry that it stands at, besides its number.';
