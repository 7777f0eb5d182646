-- A partitioned table has triggers for each row, which Postgres itself copies to every partition, also to one that is
-- attached later: statements that name a partition fire no trigger of the table. TRUNCATE has triggers of statements
-- only, so each partition gets its own. So has a table of which is captured, too, what replication's appliers write
-- (always): those fire no others.
create or replace function perch.make_sync_triggers(relation regclass, arguments text[], always boolean,
  with_documents boolean default false)
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  by_row constant boolean := always or (select c.relkind = 'p' from pg_class c
    where c.oid = make_sync_triggers.relation);
  listed constant text := (select string_agg(format('%L', a.value), ', ' order by a.nth)
    from unnest(arguments) with ordinality a (value, nth));
  -- A trigger is made by whoever may execute its function, and has the right to make triggers on the table: perch_owner
  -- is lent that.
  lent constant boolean := not pg_has_role(current_user, (select c.relowner from pg_class c
    where c.oid = make_sync_triggers.relation), 'USAGE');
  place regclass;
  trigger record;
  made record;
begin
  perform perch.drop_sync_triggers(relation, false);
  if lent then
    for place in select p.relid from pg_partition_tree(relation) p union select relation::oid loop
      perform perch.as_owner(place, format('grant trigger on %s to perch_owner', place));
    end loop;
  end if;
  for made in
    select m.* from (values
      ('perch_insert', 'after insert', 'referencing new table as perch_new', 'statement', 'capture_statement', false),
      ('perch_update', 'after update', 'referencing old table as perch_old new table as perch_new', 'statement',
        'capture_statement', false),
      ('perch_delete', 'after delete', 'referencing old table as perch_old', 'statement', 'capture_statement', false),
      ('perch_capture', 'after insert or update or delete', '', 'row', 'capture_row', true),
      ('perch_truncated', 'after truncate', '', 'statement', 'capture_truncated', true),
      ('perch_truncate', 'before truncate', '', 'statement', 'capture_truncated', null),
      -- By their names they fire behind the others.
      ('perch_written', 'after update or delete', '', 'statement', 'note_column_writes', false),
      ('perch_written', 'after update or delete', '', 'row', 'note_column_writes', true),
      ('perch_truncate_written', 'before truncate', '', 'statement', 'note_column_writes', null)
    ) m (name, event, referenced, level, function, for_rows)
     where (m.for_rows is null or m.for_rows = by_row)
       and (with_documents or m.function <> 'note_column_writes')
  loop
    for place in
      select relation::oid
      union all
      select t.relid from pg_partition_tree(relation) t
       where t.isleaf and t.level > 0 and starts_with(made.name, 'perch_truncate') and made.event like 'before%'
    loop
      execute format('create trigger %s %s on %s %s for each %s execute function perch.%s(%s)',
        made.name, made.event, place, made.referenced, made.level, made.function, listed);
    end loop;
  end loop;
  if lent then
    for place in select p.relid from pg_partition_tree(relation) p union select relation::oid loop
      perform perch.as_owner(place, format('revoke trigger on %s from perch_owner', place));
    end loop;
  end if;
  if always then
    for trigger in
      select t.tgrelid::regclass as place, t.tgname as name from pg_trigger t
       where t.tgrelid in (select p.relid from pg_partition_tree(relation) p union select relation::oid)
         and starts_with(t.tgname, 'perch_') and t.tgparentid = 0
    loop
      perform perch.as_owner(trigger.place, format('alter table %s enable always trigger %I', trigger.place,
        trigger.name));
    end loop;
  end if;
end
$$;

comment on function perch.make_sync_triggers(regclass, text[], boolean, boolean) is
  'Private. Makes the triggers that capture what is written to a table; arguments: app, table, how the space is told and by what, the columns of the key; with_documents: also those that pass on what is written to columns that are documents.';
