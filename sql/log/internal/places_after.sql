create or replace function perch.places_after(places perch.log_place[], nth integer, seq bigint, ends_there boolean)
returns perch.log_place[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return array(
    select row(p.space_id, p.start,
             case when s.stop = p.start then p.mark
                  when s.stop = p.head and p.head_mark is not null then p.head_mark
                  else (select perch.entry_mark(l.created_at) from perch.sync_changes l
                         where l.space_id = p.space_id and l.seq = s.stop limit 1) end,
             p.head, p.head_mark, s.stop, p.role)::perch.log_place
      from unnest(places) with ordinality p (space_id, start, mark, head, head_mark, stop, role, nth)
     cross join lateral (
       select case when ends_there and p.nth > places_after.nth then p.start
                   when ends_there and p.nth = places_after.nth then places_after.seq
                   when p.nth = places_after.nth then greatest(p.stop, places_after.seq)
                   else p.stop end
       offset 0) s (stop)
     order by p.nth);
end
$$;

comment on function perch.places_after(perch.log_place[], integer, bigint, boolean) is
  'Private. Where a reader stands behind a page (stop, with mark as its perch.entry_mark), the last entry of which is seq of the nth space; both are null where it has none. ends_there: the page does not go on behind that entry.';
