-- Several ask for a table at once: the lock that perch.sync_table takes is taken before it is looked whether the table
-- is synced by now, so one of them syncs it, and the others leave the shapes alone that have begun since.
create or replace function perch.sync_for_development(
  schema_name text, table_name text, space_id text, again boolean default false
)
returns boolean
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  place oid;
  is_synced boolean;
begin
  select c.oid into place
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
   where n.nspname = sync_for_development.schema_name and c.relname = sync_for_development.table_name
     and pg_has_role(session_user, c.relowner, 'USAGE')
     and not exists (select from perch.synced_relations r where r.relation = c.oid and r.app_id <> 'development');
  if place is null then
    return false;
  end if;
  perform perch.check_sync_options(place, 'development', null, sync_for_development.space_id, null, null, null, null,
    '{}', null, '{}');
  perform perch.as_owner(place, format('lock table %s in share row exclusive mode', place::regclass));
  is_synced := exists (
    select from perch.synced_relations r
     where r.relation = place and exists (
       select from pg_trigger t join pg_proc p on p.oid = t.tgfoid
        where t.tgrelid = place and p.pronamespace = 'perch'::regnamespace));
  if is_synced <> again then
    return is_synced;
  end if;
  perform perch.sync_table(relation => place, app_id => 'development', space_id => sync_for_development.space_id,
    table_name => concat_ws('.', nullif(schema_name, 'public'), sync_for_development.table_name));
  return true;
end
$$;

comment on function perch.sync_for_development(text, text, text, boolean) is
  'For the DBA, by way of a gateway in development mode: makes a table that the login owns part of the log of the app development, in one space, unless it is already. again: does so for one that is, and no other, which begins all shapes of it anew. Returns false when there is no such table, or it is synced for another app. Errors: as perch.sync_table. Example: select perch.sync_for_development(schema_name => ''public'', table_name => ''orders'', space_id => ''everybody'');';
