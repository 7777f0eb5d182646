create or replace function perch.images_between(
  app_id text, table_name text, after_position bigint, upto bigint, out images jsonb[]
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  space_ids text[];
  seqs bigint[];
begin
  select array_agg(e.space_id order by e.position), array_agg(e.seq order by e.position)
    into space_ids, seqs
    from (
      select l.space_id, l.seq, l.position from perch.sync_changes l
       where l.position > images_between.after_position and l.position <= images_between.upto
         and l.app_id = images_between.app_id and l.table_name = images_between.table_name
       limit 1001) e;
  -- So many, or so long ones, are worth a look by each.
  if cardinality(seqs) > 1000 or perch.images_within(space_ids, seqs, 16777216) < cardinality(seqs) then
    return;
  end if;
  images := array(
    select v.image
      from unnest(space_ids, seqs) a (space_id, seq)
     cross join lateral (
       select x.data from perch.sync_changes x where x.space_id = a.space_id and x.seq = a.seq limit 1) l
      left join lateral (
        select r.* from perch.row_images r where r.space_id = a.space_id and r.seq = a.seq limit 1) i on true
     cross join lateral (
       values (i.old_row), (coalesce(i.new_row, case when i.space_id is null then l.data end))) v (image)
     where v.image is not null);
end
$$;
grant execute on function perch.images_between to perch_worker;

comment on function perch.images_between(text, text, bigint, bigint) is
  'Private. What rows of a synced table were before and after each of their changes between two positions; null where that is a great deal. With the rights of whoever calls: perch_worker sees the log of all.';
