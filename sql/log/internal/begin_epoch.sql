-- Whoever else found the same has begun it already: then the epoch is no longer the one that was looked at, and it
-- stays.
create or replace function perch.begin_epoch(from_epoch text, from_server text, server text, renew boolean)
returns boolean
language sql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
  with begun as (
    update perch.log_epoch e set epoch = case when renew then gen_random_uuid()
      else e.epoch end, server = begin_epoch.server
     where e.epoch::text = from_epoch and e.server is not distinct from from_server
    returning 1)
  select exists (select from begun)
$$;
grant execute on function perch.begin_epoch to perch_worker;

comment on function perch.begin_epoch(text, text, text, boolean) is
  'Private. A part of perch.check_history, with the right to write the epoch.';
