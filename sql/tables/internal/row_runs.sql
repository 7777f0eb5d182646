create or replace function perch.row_runs(changes perch.change[])
returns table (positions integer[])
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  last perch.change;
  seen jsonb := '{}';
begin
  -- Most pushes are one.
  if cardinality(changes) <= 1000 and (
    select count(distinct c.record_id) = count(*) and min(c.op) = max(c.op) and min(c.table_name) = max(c.table_name)
           and min(c.space_id) = max(c.space_id)
      from unnest(changes) c) then
    positions := array(select generate_series(1, cardinality(changes)));
    return next;
    return;
  end if;
  for n in 1 .. coalesce(cardinality(changes), 0) loop
    if positions is not null
       and ((last.op, last.table_name, last.space_id) is distinct from (changes[n].op, changes[n].table_name,
         changes[n].space_id)
            or seen ? changes[n].record_id or cardinality(positions) = 1000) then
      return next;
      positions := null;
      seen := '{}';
    end if;
    positions := positions || n;
    seen := seen || jsonb_build_object(changes[n].record_id, true);
    last := changes[n];
  end loop;
  if positions is not null then
    return next;
  end if;
end
$$;

comment on function perch.row_runs(perch.change[]) is
  'Private. Changes of rows, in their order, in runs that can be written at once: of one kind, table and space, and of different rows, at most 1,000. By their places.';
