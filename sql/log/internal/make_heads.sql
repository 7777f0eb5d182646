-- Lock order: the counters that are made, by space id (docs/architecture.md, "The order of locks").
--
-- Whoever makes what another transaction is just making waits for its end. So it is made by whoever has the advisory
-- lock on its name: nobody else is making it then. Who has not got it leaves it to whoever has.
create or replace function perch.make_heads(space_ids text[])
returns void
language sql volatile
set search_path = pg_catalog, pg_temp
as $$
  insert into perch.space_heads (space_id, seq)
  select m.space_id, 0
    from (select distinct s collate "C" as space_id from unnest(space_ids) s
           where not exists (select from perch.space_heads h where h.space_id = s) order by 1 offset 0) m
   where pg_try_advisory_xact_lock(hashtextextended('perch.space_heads ' || m.space_id, 0))
  on conflict do nothing
$$;
grant execute on function perch.make_heads to perch_worker;

comment on function perch.make_heads(text[]) is
  'Private. Makes the counters of spaces that have none, but for those that another transaction is just making.';
