-- The triggers of synced tables for insert, update and delete call one function, perch.capture_statement.

-- Up Migration

do $renew$
declare
  earlier constant oid[] := array(
    select p.oid from pg_proc p
     where p.pronamespace = 'perch'::regnamespace
       and p.proname in ('capture_inserted', 'capture_updated', 'capture_deleted', 'capture_by_expression'));
  found record;
begin
  if earlier = '{}' then
    return;
  end if;
  -- Its text comes with sql/, in the same transaction.
  create function perch.capture_statement() returns trigger language plpgsql as 'begin return null; end';
  for found in
    select t.tgrelid::regclass as place, t.tgname as name, t.tgenabled as enabled,
           regexp_replace(pg_get_triggerdef(t.oid), '^CREATE (.*) EXECUTE FUNCTION perch\.\w+\(',
             'CREATE OR REPLACE \1 EXECUTE FUNCTION perch.capture_statement(') as statement
      from pg_trigger t where t.tgfoid = any (earlier)
  loop
    perform perch.as_owner(found.place, format('grant trigger on %s to perch_owner', found.place));
    execute found.statement;
    perform perch.as_owner(found.place, format('revoke trigger on %s from perch_owner', found.place));
    if found.enabled <> 'O' then
      perform perch.as_owner(found.place, format('alter table %s %s trigger %I', found.place,
        case found.enabled when 'A' then 'enable always' when 'R' then 'enable replica' else 'disable' end,
        found.name));
    end if;
  end loop;
end
$renew$;
drop function if exists perch.capture_inserted();
drop function if exists perch.capture_updated();
drop function if exists perch.capture_deleted();
drop function if exists perch.capture_by_expression();

-- Down Migration
