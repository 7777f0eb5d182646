-- Lock order: readers, by name; then the trigger waits for whoever writes to the counters, and they for it.
--
-- All readers are held while one comes or goes: so nobody gives places meanwhile (perch.order_commits), who holds the
-- first of them.
create or replace function perch.register_reader(reader text, app_ids text[], login name default null)
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  app_id text;
  former constant name := (select r.login from perch.readers r where r.reader = register_reader.reader);
  call text;
begin
  perform perch.check_id(register_reader.reader, 'reader', 64);
  perform from perch.readers r order by r.reader for update;
  if app_ids is null then
    delete from perch.readers r where r.reader = register_reader.reader;
    if not exists (select from perch.readers) then
      drop trigger if exists note_commit on perch.space_heads;
      -- What is logged from now on is not noted: whoever has a cursor of before has to begin anew.
      delete from perch.commit_order;
    end if;
  else
    if app_ids = '{}' then
      perform perch.fail('PE422', 'app_ids names no app', jsonb_build_object('argument', 'app_ids'),
        'Name the apps that it may read; null takes the reader away.');
    end if;
    foreach app_id in array app_ids loop
      perform perch.check_id(app_id, 'app_ids', 64);
    end loop;
    insert into perch.readers as r (reader, app_ids, login)
    values (register_reader.reader, register_reader.app_ids, login)
    on conflict on constraint readers_pkey do update
      set app_ids = excluded.app_ids, login = excluded.login, registered_by = session_user,
          -- Of an app that is new to it, it has nothing yet, so its cursors end (perch.reader_mark).
          registered_at = case when r.app_ids = excluded.app_ids then r.registered_at else clock_timestamp() end;
    if not exists (
      select from pg_trigger t where t.tgrelid = 'perch.space_heads'::regclass and t.tgname = 'note_commit') then
      create constraint trigger note_commit after insert or update of seq on perch.space_heads
        deferrable initially deferred for each row execute function perch.note_commit();
    end if;
  end if;
  foreach call in array array['perch.read_log(text, jsonb, integer, text[], jsonb)',
    'perch.read_log_snapshot(text, text, integer, text[], jsonb)'] loop
    if former is not null and not exists (select from perch.readers r where r.login = former) then
      execute format('revoke execute on function %s from %I', call, former);
    end if;
    if login is not null and app_ids is not null then
      execute format('grant execute on function %s to %I', call, login);
    end if;
  end loop;
  if login is not null and app_ids is not null then
    execute format('grant usage on schema perch to %I', login);
  end if;
end
$$;

comment on function perch.register_reader(text, text[], name) is
  'For the DBA: lets a service read these apps over all spaces, by perch.read_log. Without login it reads by tokens with the claim perch_reader (over HTTP), or through programs that have perch_app; with login that role alone does, which needs nothing else, and is granted what it takes. Where a synced table has rules, it is a viewer in every space, and the user perch:reader:<reader>: a row_filter may name it. Registering it again replaces apps and login; with other apps it begins anew (PE410). app_ids null takes it away. Writers are waited for, for a moment, by the first and after the last. Errors: PE422. Example: select perch.register_reader(reader => ''search'', app_ids => ''{todo,notes}'');';
