-- What a page asks about is bounded as what it says is: an update of one short column has two whole rows behind it, so
-- a page of a few kilobytes may ask about gigabytes, which are some megabytes as they are stored. So each is measured
-- as it is when it is unpacked ('{}' || row), and no further than there is room.
create or replace function perch.images_within(space_ids text[], seqs bigint[], max_bytes bigint)
returns integer
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  bytes bigint := 0;
  entry record;
begin
  for entry in
    select a.nth, coalesce(pg_column_size('{}'::jsonb || i.old_row), 0)
             + coalesce(pg_column_size('{}'::jsonb || coalesce(i.new_row, l.data)), 0) as bytes
      from unnest(space_ids, seqs) with ordinality a (space_id, seq, nth)
      left join lateral (
        select r.* from perch.row_images r where r.space_id = a.space_id and r.seq = a.seq limit 1) i on true
      left join lateral (
        select x.data from perch.sync_changes x
         where i.space_id is null and x.space_id = a.space_id and x.seq = a.seq limit 1) l on true
     order by a.nth
  loop
    bytes := bytes + entry.bytes;
    if bytes > max_bytes then
      return greatest(entry.nth - 1, 1);
    end if;
  end loop;
  return cardinality(seqs);
end
$$;
grant execute on function perch.images_within to perch_worker;

comment on function perch.images_within(text[], bigint[], bigint) is
  'Private. Of these entries how many, from the first, have rows before and after (perch.row_images) that are together no longer than so many bytes; one at least.';
