-- In the order of every writer, though it waits for none.
create or replace function perch.try_heads(space_ids text[])
returns text[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  taken text[];
begin
  for attempt in 1 .. 2 loop
    taken := array(
      select h.space_id from perch.space_heads h where h.space_id = any (space_ids)
        order by h.space_id for no key update skip locked);
    exit when cardinality(taken) = cardinality(space_ids);
    -- Some have none yet, as a rule.
    perform perch.make_heads(space_ids);
  end loop;
  return taken;
end
$$;

comment on function perch.try_heads(text[]) is
  'Private. Takes those counters of the spaces that nobody holds, and returns which.';
