-- The number of an entry does not identify it: a database that went back gives numbers out again. The microsecond in
-- which its push was begun does: time goes on, also for a database that went back, so nothing that gets the number anew
-- is of the same. It is made of what every row has, and of nothing that a dump, a copy or an upgrade changes. The text
-- of a time depends on settings, its epoch does not.
create or replace function perch.entry_mark(created_at timestamptz)
returns text
language sql stable parallel safe
return to_hex((extract(epoch from created_at) * 1000000)::bigint);
grant execute on function perch.entry_mark to perch_worker;

comment on function perch.entry_mark(timestamptz) is
  'Private. What a cursor remembers of the entry that it stands at, besides its number.';
