create or replace function perch.new_epoch()
returns uuid
language sql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
  update perch.log_epoch set epoch = gen_random_uuid(), server = perch.server_identity() returning epoch
$$;

comment on function perch.new_epoch() is
  'For the DBA, where a database went back that no worker could know of (a worker begins a new epoch by itself on another server, timeline or database, and where entries that it has seen are gone): cursors from before fail with PE410 (reason epoch), and their clients resync. Cursors that stand at an entry which is gone fail without it. Returns the new epoch. Example: select perch.new_epoch();';
