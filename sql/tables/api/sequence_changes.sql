create or replace function perch.sequence_changes(max_count integer default 10000)
returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if (max_count between 1 and 100000) is not true then
    perform perch.fail('PE422', 'max_count is not between 1 and 100000',
      jsonb_build_object('argument', 'max_count', 'expected', '1 to 100000', 'got', max_count));
  end if;
  return perch.number_captured(max_count, true);
end
$$;
grant execute on function perch.sequence_changes to perch_worker;

comment on function perch.sequence_changes(integer) is
  'For perch_worker: gives what was captured of synced tables its numbers, one batch: at most max_count changes (a transaction is never cut), and fewer, so that a counter is held for milliseconds. Call it, each time in a transaction of its own, until it returns 0: then there is nothing to do, or somebody else is doing it. Errors: PE422. Example: select perch.sequence_changes(max_count => 10000);';
