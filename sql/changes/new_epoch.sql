create or replace function perch.new_epoch()
returns uuid
language sql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
  update perch.log_epoch set epoch = gen_random_uuid() returning epoch
$$;

comment on function perch.new_epoch() is
  'For the DBA, after restoring a backup, before anybody writes: what was pushed after the backup is gone and its numbers will be given out again, so cursors from before must not be taken for current. They fail with PE410 (reason epoch), and their clients resync. Returns the new epoch. Example: select perch.new_epoch();';
