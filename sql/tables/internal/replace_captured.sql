-- Each by its key, whatever its caller has set for queries over many.
create or replace function perch.replace_captured(places perch.captured_changes[], changes perch.captured_changes[])
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_nestloop = on
as $$
declare
  -- The last places are kept.
  count constant integer := cardinality(places) - cardinality(changes);
begin
  delete from perch.captured_changes c using unnest(places[:count]) p where c.ordinal = p.ordinal and c.nth = p.nth;
  update perch.captured_changes c
     set space_id = s.space_id, op = s.op, old_row = s.old_row, new_row = s.new_row, user_id = s.user_id,
         client_id = s.client_id, op_id = s.op_id, old_version = s.old_version, new_version = s.new_version
    from generate_series(1, cardinality(changes)) n
   cross join lateral unnest(changes[n:n]) s
   cross join lateral unnest(places[count + n:count + n]) p
   where c.ordinal = p.ordinal and c.nth = p.nth;
end
$$;

comment on function perch.replace_captured(perch.captured_changes[], perch.captured_changes[]) is
  'Private. Puts changes, in their order, into the last of the places of those that they stand for, and takes away the others; statements may be without a change with the number 1 then (perch.number_first).';
