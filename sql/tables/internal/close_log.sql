-- Lock order: the row of the sequencer, which whoever sequences only tries (docs/architecture.md, "The order of
-- locks"): what is being given its numbers now has them below the position that is noted here.
create or replace function perch.close_log(synced perch.synced_relations)
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  if synced.rules_mark is null then
    insert into perch.closed_logs (app_id, table_name, position) values (synced.app_id, synced.table_name, 0)
    on conflict on constraint closed_logs_pkey do nothing;
    return;
  end if;
  perform from perch.sequencer s for update;
  insert into perch.closed_logs as c (app_id, table_name, position)
  select synced.app_id, synced.table_name, case when s.is_called then s.last_value else 0 end
    from perch.change_position s
  on conflict on constraint closed_logs_pkey do update set position = excluded.position;
end
$$;

comment on function perch.close_log(perch.synced_relations) is
  'Private. Sees to it that nobody is shown what is in the log of a table that had rules and leaves it, or goes on under another name; of one without, notes that it was synced.';
