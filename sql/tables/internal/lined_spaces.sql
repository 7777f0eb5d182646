create or replace function perch.lined_spaces()
returns text[]
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  -- A loose scan: one look at the index for each space that has a line.
  with recursive lines as (
    (select c.space_id, c.queued from perch.captured_changes c where c.queued is not null order by c.space_id,
      c.queued limit 1)
    union all
    select n.space_id, n.queued
      from lines l
     cross join lateral (
       select c.space_id, c.queued from perch.captured_changes c
        where c.queued is not null and c.space_id > l.space_id order by c.space_id, c.queued limit 1) n
  )
  select coalesce(array_agg(l.space_id order by l.queued), '{}') from lines l
$$;

comment on function perch.lined_spaces() is
  'Private. The spaces with changes that wait for their counter, the one that has waited longest first.';
