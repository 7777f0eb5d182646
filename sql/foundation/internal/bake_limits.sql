-- Limits are asked for by nearly every call and set once in a year. So they are not read from their table, which would
-- be a query in each of these calls, but stand in the text of a function that the planner takes into its callers. As
-- for every function taken in so, plans made with the old text are made anew as soon as the transaction that replaced
-- it has committed. (Stable rather than immutable: what is immutable the planner evaluates instead, and then does not
-- note that the plan depends on it.)
--
-- Lock order: the table of limits, alone; whoever sets one takes it before its row. Of two who set limits the second
-- waits here, and then sees, in a snapshot of its own, what the first has set.
create or replace function perch.bake_limits()
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  lock table perch.limits in share row exclusive mode;
  execute
    format('create or replace function perch.limit_values() returns jsonb '
      'language sql stable parallel safe return %L::jsonb',
    (select coalesce(jsonb_object_agg(l.name, l.value), '{}') from perch.limits l));
end
$$;

comment on function perch.bake_limits() is
  'Private. Makes perch.limit_values say what the table of limits has.';
