-- A partitioned table has triggers for each row, which Postgres itself copies to every partition, also to one that is
-- attached later: statements that name a partition fire no trigger of the table. TRUNCATE has triggers of statements
-- only, so each partition gets its own.
create or replace function perch.make_sync_triggers(relation regclass, arguments text[], always boolean)
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  partitioned constant boolean := (select c.relkind = 'p' from pg_class c where c.oid = make_sync_triggers.relation);
  by_expression constant boolean := arguments[3] = 'expression';
  listed constant text := (select string_agg(format('%L', a.value), ', ' order by a.nth) from unnest(arguments) with ordinality a (value, nth));
  -- A trigger is made by whoever may execute its function, and has the right to make triggers on the table: perch_owner is lent that.
  lent constant boolean := not pg_has_role(current_user, (select c.relowner from pg_class c where c.oid = make_sync_triggers.relation), 'USAGE');
  place regclass;
  trigger record;
begin
  perform perch.drop_sync_triggers(relation, false);
  if lent then
    for place in select p.relid from pg_partition_tree(relation) p union select relation::oid loop
      perform perch.as_owner(place, format('grant trigger on %s to perch_owner', place));
    end loop;
  end if;
  if partitioned then
    execute format('create trigger perch_capture after insert or update or delete on %s for each row execute function perch.capture_row(%s)', relation, listed);
    for place in select t.relid from pg_partition_tree(relation) t where t.isleaf and t.level > 0 loop
      execute format('create trigger perch_truncate before truncate on %s for each statement execute function perch.capture_truncated(%s)', place, listed);
    end loop;
    execute format('create trigger perch_truncate before truncate on %s for each statement execute function perch.capture_truncated(%s)', relation, listed);
    execute format('create trigger perch_truncated after truncate on %s for each statement execute function perch.capture_truncated(%s)', relation, listed);
  else
    execute format('create trigger perch_insert after insert on %s referencing new table as perch_new for each statement execute function perch.%s(%s)',
      relation, case when by_expression then 'capture_by_expression' else 'capture_inserted' end, listed);
    execute format('create trigger perch_update after update on %s referencing old table as perch_old new table as perch_new for each statement execute function perch.%s(%s)',
      relation, case when by_expression then 'capture_by_expression' else 'capture_updated' end, listed);
    execute format('create trigger perch_delete after delete on %s referencing old table as perch_old for each statement execute function perch.%s(%s)',
      relation, case when by_expression then 'capture_by_expression' else 'capture_deleted' end, listed);
    execute format('create trigger perch_truncate before truncate on %s for each statement execute function perch.capture_truncated(%s)', relation, listed);
  end if;
  if lent then
    for place in select p.relid from pg_partition_tree(relation) p union select relation::oid loop
      perform perch.as_owner(place, format('revoke trigger on %s from perch_owner', place));
    end loop;
  end if;
  if always then
    for trigger in
      select t.tgrelid::regclass as place, t.tgname as name from pg_trigger t
       where t.tgrelid in (select p.relid from pg_partition_tree(relation) p union select relation::oid) and t.tgname like 'perch\_%' and t.tgparentid = 0
    loop
      perform perch.as_owner(trigger.place, format('alter table %s enable always trigger %I', trigger.place, trigger.name));
    end loop;
  end if;
end
$$;

comment on function perch.make_sync_triggers(regclass, text[], boolean) is
  'Private. Makes the triggers that capture what is written to a table; arguments: app, table, how the space is told and by what, the columns of the key.';
