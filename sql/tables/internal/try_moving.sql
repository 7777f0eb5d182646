-- In a subtransaction that is undone in any case.
create or replace function perch.try_moving(
  space_ids text[], lined text[], ordinals bigint[], ends bigint[], max_count integer
)
returns text
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  perform perch.move_captured(array(select s from unnest(space_ids) s where s = any (lined)), null, null, max_count);
  if lined <> '{}' then
    lined := perch.lined_spaces();
  end if;
  perform perch.move_captured(array(select s from unnest(space_ids) s where s <> all (lined)), ordinals, ends, null);
  raise exception 'undone' using errcode = 'P0U00';
exception
  when sqlstate 'P0U00' then
    return null;
  when data_exception or program_limit_exceeded or integrity_constraint_violation or internal_error then
    return left(concat_ws(' ', sqlstate, sqlerrm), 300);
end
$$;

comment on function perch.try_moving(text[], text[], bigint[], bigint[], integer) is
  'Private. Why captured changes of these spaces cannot be moved into the log; null: they can. Moves nothing.';
