create or replace function perch.require_history(synced perch.synced_relations, spaces text[], "position" bigint)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  forgotten bigint;
begin
  -- What was never given out is of a log that is gone: the database went back. (A crash, and a standby, only have the
  -- sequence further on.)
  if require_history."position" > (select case when s.is_called then s.last_value else 0 end
    from perch.change_position s)
  then
    perform perch.fail('PE410', 'the log has not come to this position',
      jsonb_build_object('position', require_history."position"),
      'Fetch the shape from its beginning: offset -1, without a handle.');
  end if;
  -- Of a table that had other rules once, or none, what was written then is shown to nobody.
  select greatest(
           (select max(h.pruned_position) from perch.space_heads h where h.space_id = any (spaces)),
           (select c.position from perch.closed_logs c
             where c.app_id = synced.app_id and c.table_name = synced.table_name))
    into forgotten;
  if forgotten > require_history."position" then
    perform perch.fail('PE410', 'the log no longer has what came after this position',
      jsonb_build_object('position', require_history."position", 'forgotten', forgotten),
      'Fetch the shape from its beginning: offset -1, without a handle.');
  end if;
end
$$;

comment on function perch.require_history(perch.synced_relations, text[], bigint) is
  'Private. PE410 when entries behind a position were forgotten in one of the spaces, or are closed, or the log never came to it.';
