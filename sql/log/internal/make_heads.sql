-- Lock order: the counters that are made, by space id (docs/architecture.md, "The order of locks").
--
-- Whoever makes what another transaction is just making waits for its end, at the unique index. An INSERT cannot skip
-- that, so it waits as short as can be, and leaves it to whoever is at it. (No advisory lock says who that is: any
-- login may take those, and would keep a space from ever having a counter.)
create or replace function perch.make_heads(space_ids text[])
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  patience constant text := current_setting('lock_timeout');
  missing text;
begin
  for missing in
    select distinct s collate "C" as space_id from unnest(space_ids) s
     where not exists (select from perch.space_heads h where h.space_id = s) order by 1
  loop
    begin
      perform set_config('lock_timeout', '1', true);
      insert into perch.space_heads (space_id, seq) values (missing, 0) on conflict do nothing;
      perform set_config('lock_timeout', patience, true);
    exception when lock_not_available then
      -- The setting went back with everything else of this block.
      null;
    end;
  end loop;
end
$$;
grant execute on function perch.make_heads to perch_worker;

comment on function perch.make_heads(text[]) is
  'Private. Makes the counters of spaces that have none, but for those that another transaction is just making.';
