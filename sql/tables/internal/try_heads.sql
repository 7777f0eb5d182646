-- In the order of every writer, though it waits for none.
create or replace function perch.try_heads(space_ids text[])
returns text[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  perform perch.make_heads(try_heads.space_ids);
  return array(
    select h.space_id from perch.space_heads h where h.space_id = any (space_ids)
      order by h.space_id for no key update skip locked);
end
$$;

comment on function perch.try_heads(text[]) is
  'Private. Takes those counters of the spaces that nobody holds, and returns which.';
