create or replace function perch.drop_sync_triggers(relation regclass, and_rights boolean)
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  trigger record;
begin
  for trigger in
    select t.tgrelid::regclass as place, t.tgname as name
      from pg_trigger t join pg_proc p on p.oid = t.tgfoid
     where t.tgrelid in (select p.relid from pg_partition_tree(relation) p union select relation::oid)
       and p.pronamespace = 'perch'::regnamespace and t.tgparentid = 0
  loop
    perform perch.as_owner(trigger.place, format('drop trigger %I on %s', trigger.name, trigger.place));
  end loop;
  if and_rights then
    perform perch.as_owner(relation, format('drop policy if exists perch_reads on %s', relation));
    perform perch.as_owner(relation, format('revoke select on %s from perch_owner', relation));
  end if;
end
$$;

comment on function perch.drop_sync_triggers(regclass, boolean) is
  'Private. Takes away the triggers of perch on a table and its partitions; and_rights: also what perch_owner was let read.';
