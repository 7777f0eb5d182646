create or replace function perch.number_first(ordinals bigint[])
returns void
language sql volatile
set search_path = pg_catalog, pg_temp
as $$
  update perch.captured_changes c set nth = 1
    from (
      select x.ordinal, coalesce(max(x.nth) filter (where x.nth <= 1), min(x.nth)) as nth
        from perch.captured_changes x where x.ordinal = any (ordinals) group by x.ordinal) f
   where c.ordinal = f.ordinal and c.nth = f.nth and f.nth <> 1
$$;

comment on function perch.number_first(bigint[]) is
  'Private. Gives each of these statements a change with the number 1 again, by which it is found, after changes were moved or left out.';
