-- A cursor: {"v": 1, "app": …, "tables": digest or absent, "epoch": …, "spaces": {"team": 42, …}, "behind": ["team", …]}.
-- "behind" are the spaces in which it has not come to the end of the log yet.
create or replace function perch.read_cursor(cursor jsonb, app_id text, tables text[])
returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  wrong text;
begin
  if cursor is null or cursor in ('{}', 'null') then
    return null;
  end if;
  wrong := case
    when jsonb_typeof(cursor) <> 'object' then 'it is not an object'
    when cursor -> 'v' is distinct from '1' then 'its version is unknown'
    when cursor -> 'app' is distinct from to_jsonb(app_id) then 'it was made for another app'
    when cursor ->> 'tables' is distinct from perch.tables_digest(tables) then 'it was made for other tables'
    when jsonb_typeof(cursor -> 'epoch') is distinct from 'string' then 'it has no epoch'
    when jsonb_typeof(cursor -> 'spaces') is distinct from 'object' then 'it has no positions'
    when jsonb_typeof(cursor -> 'behind') is distinct from 'array' then 'it does not say where it is behind'
    when exists (select from jsonb_each_text(cursor -> 'spaces') s where s.value is null or s.value !~ '^[0-9]{1,18}$') then 'a position is not a number'
  end;
  if wrong is not null then
    perform perch.fail('PE422', format('the cursor cannot be used: %s', wrong), jsonb_build_object('argument', 'cursor'),
      'Pass the cursor of the last answer as it came; {} is the beginning.');
  end if;
  return cursor;
end
$$;

comment on function perch.read_cursor(jsonb, text, text[]) is
  'Private. The cursor, when it can be used with this app and these tables; null for the beginning; else PE422.';
