-- With the rights of whoever calls: perch_worker sees the log of all.
create or replace function perch.shape_matches(
  schema_name text, relation_name text, app_id text, table_name text, after_position bigint, upto bigint,
  filters jsonb[]
)
returns boolean[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  space_ids text[];
  seqs bigint[];
  images jsonb[];
begin
  select array_agg(e.space_id order by e.position), array_agg(e.seq order by e.position)
    into space_ids, seqs
    from (
      select l.space_id, l.seq, l.position from perch.sync_changes l
       where l.position > shape_matches.after_position and l.position <= shape_matches.upto
         and l.app_id = shape_matches.app_id and l.table_name = shape_matches.table_name
       limit 1001) e;
  -- So many, or so long ones, are worth a look by each.
  if cardinality(seqs) > 1000 or perch.images_within(space_ids, seqs, 16777216) < cardinality(seqs) then
    return array_fill(true, array[cardinality(filters)]);
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
  return perch.filters_match(schema_name, relation_name, images, filters);
end
$$;
grant execute on function perch.shape_matches to perch_worker;

comment on function perch.shape_matches(text, text, text, text, bigint, bigint, jsonb[]) is
  'For perch_worker: of each of these filters whether it may be true of a row that changed between two positions, before or after. schema_name, relation_name: the synced table; app_id, table_name: its name in the log. Errors: PE404, PE422. Example: select perch.shape_matches(schema_name => ''public'', relation_name => ''orders'', app_id => ''shop'', table_name => ''orders'', after_position => 0, upto => 10, filters => ''{}'');';
