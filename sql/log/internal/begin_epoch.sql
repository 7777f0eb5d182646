-- Whoever else found the same has begun it already: then the epoch is no longer the one that was looked at, and it
-- stays. Without a reason only the server is noted.
create or replace function perch.begin_epoch(from_epoch text, from_server text, server text, reason text, lost jsonb)
returns boolean
language sql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
  with begun as (
    update perch.log_epoch e
       set epoch = case when begin_epoch.reason is null then e.epoch else gen_random_uuid() end,
           server = begin_epoch.server
     where e.epoch::text = from_epoch and e.server is not distinct from from_server
    returning e.epoch),
  noted as (
    insert into perch.begun_epochs (epoch, reason, lost)
    select b.epoch, begin_epoch.reason, begin_epoch.lost from begun b where begin_epoch.reason is not null
  )
  select exists (select from begun)
$$;
grant execute on function perch.begin_epoch to perch_worker;

comment on function perch.begin_epoch(text, text, text, text, jsonb) is
  'Private. A part of perch.check_history, with the right to write the epoch.';
