create or replace function perch.next_ordinal()
returns bigint
language sql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
  select nextval('perch.capture_ordinal')
$$;
grant execute on function perch.next_ordinal to perch_worker;

comment on function perch.next_ordinal() is
  'Private. The ordinal of what is captured now, also for perch_worker.';
