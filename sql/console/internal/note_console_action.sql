create or replace function perch.note_console_action(action text, subject jsonb)
returns void
language sql volatile
set search_path = pg_catalog, pg_temp
as $$
  insert into perch.console_actions (user_id, action, subject)
  values (perch.require_console(to_act => true), note_console_action.action, note_console_action.subject)
$$;
grant execute on function perch.note_console_action to perch_worker;

comment on function perch.note_console_action(text, jsonb) is
  'Private. Writes down what whoever asks in the console does; PE403 for a viewer.';
