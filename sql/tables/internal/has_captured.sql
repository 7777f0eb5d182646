-- Not whether the table has any row: before the first that is left stand those that were given their numbers, until
-- they are vacuumed away, and whoever empties a long queue would go over all of them again with each batch. So it is
-- looked where the sequencer will: behind its bound, before it at transactions that were open when it was noted, and in
-- the lines. Each by an index and in its order (a sub-select with a limit: an EXISTS would be planned as a scan).
create or replace function perch.has_captured()
returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  noted perch.sequencer;
begin
  select s.* into noted from perch.sequencer s;
  -- Where a copy of the database left the sequence behind, the note means nothing.
  if noted.bound > (select q.last_value from perch.capture_ordinal q) then
    noted.bound := 0;
  end if;
  return (select c.ordinal from perch.captured_changes c
           where c.queued is null and c.ordinal > noted.bound order by c.ordinal limit 1) is not null
      or (select c.space_id from perch.captured_changes c
           where c.queued is not null order by c.space_id limit 1) is not null
      or perch.late_statements(noted) <> '{}';
end
$$;

comment on function perch.has_captured() is 'Private. Whether anything waits for its number.';
