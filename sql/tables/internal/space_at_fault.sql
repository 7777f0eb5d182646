-- By halves. Of one space that is left it is not asked whether it fails alone, but for the reason.
create or replace function perch.space_at_fault(
  space_ids text[], lined text[], ordinals bigint[], ends bigint[], max_count integer,
  out space_id text, out reason text
)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  half integer;
begin
  while cardinality(space_ids) > 1 loop
    half := cardinality(space_ids) / 2;
    reason := perch.try_moving(space_ids[:half], lined, ordinals, ends, max_count);
    space_ids := case when reason is null then space_ids[half + 1:] else space_ids[:half] end;
  end loop;
  space_id := space_ids[1];
  reason := coalesce(reason, perch.try_moving(space_ids, lined, ordinals, ends, max_count));
end
$$;

comment on function perch.space_at_fault(text[], text[], bigint[], bigint[], integer) is
  'Private. Of spaces whose captured changes cannot all be moved into the log, one whose changes cannot, and why.';
