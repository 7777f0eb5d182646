-- In the order of every writer, though it waits for none. A counter that is not there yet is made, which waits for
-- whoever is just making it: so for a moment only.
create or replace function perch.try_heads(space_ids text[])
returns text[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  patience constant text := current_setting('lock_timeout');
begin
  if exists (select from unnest(space_ids) s where not exists (select from perch.space_heads h
    where h.space_id = s)) then
    perform set_config('lock_timeout', '10', true);
    begin
      insert into perch.space_heads (space_id, seq)
      select distinct s collate "C", 0 from unnest(space_ids) s
       where not exists (select from perch.space_heads h where h.space_id = s) order by 1
      on conflict do nothing;
    exception when lock_not_available then
      null;
    end;
    perform set_config('lock_timeout', patience, true);
  end if;
  return array(
    select h.space_id from perch.space_heads h where h.space_id = any (space_ids)
      order by h.space_id for no key update skip locked);
end
$$;

comment on function perch.try_heads(text[]) is
  'Private. Takes those counters of the spaces that nobody holds, and returns which.';
