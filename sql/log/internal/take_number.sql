-- Lock order: the counter of the space, behind everything else; it is only tried (docs/architecture.md, "The order of
-- locks").
create or replace function perch.take_number(space_id text, created_at timestamptz)
returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
declare
  taken bigint;
begin
  if current_setting('perch.capturing', true) = 'on' then
    return null;
  end if;
  update perch.space_heads h set seq = h.seq + 1, mark = perch.entry_mark(take_number.created_at)
   where h.space_id = (
     select x.space_id from perch.space_heads x
      where x.space_id = take_number.space_id and not exists (select from perch.waiting_in(take_number.space_id))
        for no key update skip locked)
  returning h.seq into taken;
  return taken;
end
$$;
grant execute on function perch.take_number to perch_worker;

comment on function perch.take_number(text, timestamptz) is
  'Private. As perch.number_changes of one change, where all is as usual: the counter is there and free, nothing of the space is captured, and not all is to be (perch.capturing). Null otherwise: then that is to be asked.';
