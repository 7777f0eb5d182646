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
      from perch.entry_images(space_ids, seqs) e
     cross join lateral (values (e.old_row), (e.new_row)) v (image)
     where v.image is not null);
end
$$;
grant execute on function perch.images_between to perch_worker;

comment on function perch.images_between(text, text, bigint, bigint) is
  'Private. What rows of a synced table were before and after each of their changes between two positions; null where that is a great deal. With the rights of whoever calls: perch_worker sees the log of all.';
