create or replace function perch.unsync_table(relation regclass)
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (select from perch.synced_relations r where r.relation = unsync_table.relation) then
    perform perch.fail('PE422', format('%s is not synced', unsync_table.relation), jsonb_build_object('argument',
      'relation'),
      'The view perch.synced_tables lists what is.');
  end if;
  if exists (select from pg_class c where c.oid = unsync_table.relation) then
    perform perch.drop_sync_triggers(unsync_table.relation, true);
    perform perch.drop_row_filter(unsync_table.relation, but => null);
  end if;
  perform perch.forget_synced_table(unsync_table.relation);
end
$$;

comment on function perch.unsync_table(regclass) is
  'For the DBA: takes a table out of the log again: its triggers, and what perch notes beside it; never its rows, and not what is in the log already. By whom: as perch.sync_table. Errors: PE422 when it is not synced. Example: select perch.unsync_table(relation => ''public.orders'');';
