-- Every trigger, as the catalog writes it: only what differs from it is made anew, which takes a lock that waits for
-- writers, and for which they wait. Triggers that call functions of others are not ours, and stay.
do $triggers$
declare
  wanted constant text[] := array[
    'CREATE TRIGGER notify_added AFTER INSERT ON perch.space_members REFERENCING NEW TABLE AS touched '
      'FOR EACH STATEMENT EXECUTE FUNCTION perch.notify_members()',
    'CREATE TRIGGER notify_changed AFTER UPDATE ON perch.space_members REFERENCING NEW TABLE AS touched '
      'FOR EACH STATEMENT EXECUTE FUNCTION perch.notify_members()',
    'CREATE TRIGGER notify_removed AFTER DELETE ON perch.space_members REFERENCING OLD TABLE AS touched '
      'FOR EACH STATEMENT EXECUTE FUNCTION perch.notify_members()',
    'CREATE TRIGGER notify AFTER INSERT ON perch.document_inbox REFERENCING NEW TABLE AS added '
      'FOR EACH STATEMENT EXECUTE FUNCTION perch.notify_documents()',
    -- The second without WHEN: the expression is read from its text form by every statement.
    'CREATE CONSTRAINT TRIGGER notify_first AFTER INSERT ON perch.space_heads DEFERRABLE INITIALLY DEFERRED '
      'FOR EACH ROW WHEN ((new.seq > 0)) EXECUTE FUNCTION perch.notify_changes()',
    'CREATE CONSTRAINT TRIGGER notify_next AFTER UPDATE OF seq ON perch.space_heads DEFERRABLE INITIALLY DEFERRED '
      'FOR EACH ROW EXECUTE FUNCTION perch.notify_changes()',
    'CREATE TRIGGER bake AFTER INSERT OR DELETE OR UPDATE OR TRUNCATE ON perch.limits FOR EACH STATEMENT '
      'EXECUTE FUNCTION perch.limits_changed()']
    -- Only while services read the logs of all spaces (perch.register_reader).
    || case when exists (select from perch.readers) then array[
      'CREATE CONSTRAINT TRIGGER note_commit AFTER INSERT OR UPDATE OF seq ON perch.space_heads DEFERRABLE INITIALLY '
        'DEFERRED FOR EACH ROW EXECUTE FUNCTION perch.note_commit()'] else '{}' end;
  difference record;
begin
  for difference in
    with present as (
      select t.oid, t.tgname as name, t.tgrelid::regclass as relation, t.tgenabled = 'O' as enabled,
        pg_get_triggerdef(t.oid) as definition
        from pg_trigger t
        join pg_class c on c.oid = t.tgrelid and c.relnamespace = 'perch'::regnamespace
        join pg_proc p on p.oid = t.tgfoid and p.pronamespace = 'perch'::regnamespace
       where not t.tgisinternal
    )
    select 0 as step, null::bigint as place, format('drop trigger %I on %s', p.name, p.relation) as statement
      from present p where not (p.enabled and p.definition = any (wanted))
    union all
    select 1, w.place, w.definition
      from unnest(wanted) with ordinality w (definition, place)
     where not exists (select from present p where p.enabled and p.definition = w.definition)
     order by step, place
  loop
    execute difference.statement;
  end loop;
end
$triggers$;
