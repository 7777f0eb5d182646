-- All that has changed since the first chunk is gone through for each later one. So much of it is no faster than to
-- begin anew, and would not be done in the time that a statement has.
create or replace function perch.require_few_changed(
  synced perch.synced_relations, spaces text[], since_position bigint, since_snapshot pg_snapshot
)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  max_changed constant integer := 100000;
begin
  if (select count(*) > max_changed
        from (
          (select from perch.sync_changes l
            where l.position > since_position and l.app_id = synced.app_id and l.table_name = synced.table_name
              and l.space_id = any (spaces) and not pg_visible_in_snapshot(l.txid, since_snapshot)
            limit max_changed + 1)
          union all
          (select from perch.captured_changes q
            where q.app_id = synced.app_id and q.table_name = synced.table_name and q.space_id = any (spaces)
              and not pg_visible_in_snapshot(q.txid, since_snapshot)
            limit max_changed + 1)) c)
  then
    perform perch.fail('PE410', format('more of %s has changed since than can be looked at again', synced.table_name),
      jsonb_build_object('position', since_position, 'max', max_changed),
      'Fetch the shape from its beginning: offset -1, without a handle.');
  end if;
end
$$;

comment on function perch.require_few_changed(perch.synced_relations, text[], bigint, pg_snapshot) is
  'Private. PE410 where a synced table has over 100,000 changes in these spaces since a moment.';
