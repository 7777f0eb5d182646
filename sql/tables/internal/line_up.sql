-- Transaction by transaction, so that a line is not cut within one (perch.move_captured).
create or replace function perch.line_up(ordinals bigint[], ends bigint[])
returns bigint
language sql volatile
set search_path = pg_catalog, pg_temp
as $$
  with kept as materialized (
    select x.place, b.greatest
      from unnest(ordinals, line_up.ends) b (ordinal, greatest)
     cross join lateral (
       select c.ctid as place from perch.captured_changes c where c.ordinal = b.ordinal and c.queued is null offset 0) x
  ),
  places as materialized (
    select g.greatest, nextval('perch.change_position') as queued
      from (select distinct k.greatest from kept k order by k.greatest) g
  ),
  lined as (
    update perch.captured_changes c set queued = p.queued
      from kept k join places p on p.greatest = k.greatest
     where c.ctid = k.place
    returning 1
  )
  select count(*) from lined
$$;

comment on function perch.line_up(bigint[], bigint[]) is
  'Private. Puts what is left of these statements in the lines of their spaces, in the order of their transactions. Returns how many changes.';
