-- A statement of a trigger ends, and is captured, before the one that set it off. So for each depth of triggers it is
-- kept where the last run of deeper captures began: that is what a capture at this depth may have set off, it and those
-- beside it that end with the same query. perch.nested has, for each depth, the ordinal with which the run began, and
-- that of the capture at this depth with which it ended (0: it goes on). It ends with the transaction, and goes back
-- with what a savepoint takes back; what is deeper than a capture is over with it.
create or replace function perch.place_nested(relation oid, ordinal bigint, depth integer)
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  runs bigint[] := coalesce(nullif(current_setting('perch.nested', true), ''), '{}');
begin
  if runs[2 * depth - 1] is not null then
    if runs[2 * depth] = 0 then
      runs[2 * depth] := ordinal;
    end if;
    if relation is not null then
      perform perch.place_outer(relation, ordinal, runs[2 * depth - 1], runs[2 * depth]);
    end if;
  end if;
  for d in 1 .. depth - 1 loop
    if runs[2 * d] is null or runs[2 * d] > 0 then
      runs[2 * d - 1] := ordinal;
      runs[2 * d] := 0;
    end if;
  end loop;
  perform set_config('perch.nested', runs[:2 * depth]::text, true);
end
$$;

comment on function perch.place_nested(oid, bigint, integer) is
  'Private. Puts what a statement did into the right order with what its triggers did, and notes it for whoever set it off. relation: its table; null: what is captured row by row (perch.by_versions has its order). depth: pg_trigger_depth() of its capture.';
