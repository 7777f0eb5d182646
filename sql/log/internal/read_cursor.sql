-- A cursor: {"v": 2, "app": …, "tables": digest or absent, "epoch": …, "spaces": {"team": [42, "6616bd2139f9b"], …},
-- "behind": ["team", …]}. A position is the number of the last entry that was given, and its perch.entry_mark (null at
-- 0); so a space costs its name and some twenty bytes. "behind" are the spaces in which it has not come to the end of
-- the log yet.
--
-- Of an app with tables that have rules: "rules", their perch.rules_mark, and with each position the role in which it
-- was read: {"team": [42, "6616bd2139f9b", "editor"]}. By others, and in another role, something else would have been
-- given.
--
-- One of version 1 has no marks: it is taken as one of another epoch, with which the log does not go on anywhere.
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
    when (cursor -> 'v' in ('1', '2')) is not true then 'its version is unknown'
    when cursor -> 'app' is distinct from to_jsonb(app_id) then 'it was made for another app'
    when cursor ->> 'tables' is distinct from perch.tables_digest(tables) then 'it was made for other tables'
    when jsonb_typeof(cursor -> 'epoch') is distinct from 'string' then 'it has no epoch'
    when jsonb_typeof(cursor -> 'spaces') is distinct from 'object' then 'it has no positions'
    when jsonb_typeof(cursor -> 'behind') is distinct from 'array' then 'it does not say where it is behind'
    when cursor -> 'v' = '2' and exists (
      select from jsonb_each(cursor -> 'spaces') s
       where (jsonb_typeof(s.value) = 'array'
         and s.value ->> 0 ~ '^[0-9]{1,18}$') is not true) then 'a position is not a number'
  end;
  if wrong is not null then
    perform perch.fail('PE422', format('the cursor cannot be used: %s', wrong),
      jsonb_build_object('argument', 'cursor'),
      'Pass the cursor of the last answer as it came; {} is the beginning.');
  end if;
  if cursor -> 'v' = '1' then
    return cursor || '{"epoch": "", "spaces": {}, "behind": []}';
  end if;
  return cursor;
end
$$;

comment on function perch.read_cursor(jsonb, text, text[]) is
  'Private. The cursor, when it can be used with this app and these tables; null for the beginning; else PE422.';
