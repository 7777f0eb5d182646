-- The block takes its lock back where it has to give up.
create or replace function perch.wait_for_head(space_id text)
returns boolean
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  patience constant text := current_setting('lock_timeout');
  -- The longer a line has waited, the longer it is waited for: behind many writers, each with its commit, a turn takes
  -- a while.
  age constant interval := clock_timestamp() - (
    select c.captured_at from perch.captured_changes c where c.space_id = wait_for_head.space_id
      and c.queued is not null order by c.queued limit 1);
begin
  perform set_config('lock_timeout', greatest(10, least(250, extract(epoch from age) * 100))::int::text, true);
  begin
    perform from perch.space_heads h where h.space_id = wait_for_head.space_id for no key update;
    perform set_config('lock_timeout', patience, true);
    return true;
  exception when lock_not_available then
    perform set_config('lock_timeout', patience, true);
    return false;
  end;
end
$$;

comment on function perch.wait_for_head(text) is
  'Private. Takes the counter of a space, for which it waits up to 250 ms; the caller holds no other. Whether it has it.';
