create or replace function perch.console_discard(
  space_id text, app_id text, table_name text, record_id text, seq bigint
)
returns json
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  done boolean;
begin
  perform perch.require_console(to_act => true);
  done := perch.discard_update(console_discard.space_id, console_discard.app_id, console_discard.table_name,
    console_discard.record_id, console_discard.seq);
  if done then
    perform perch.note_console_action('discard', jsonb_build_object('space_id', console_discard.space_id,
      'app_id', console_discard.app_id, 'table', console_discard.table_name, 'id', console_discard.record_id,
      'seq', console_discard.seq));
  end if;
  return json_build_object('done', done);
end
$$;
grant execute on function perch.console_discard to perch_worker;

comment on function perch.console_discard(text, text, text, text, bigint) is
  'For perch_worker, of the console: perch.discard_update, written down in perch.console_actions: {"done"}. Errors: PE401, PE403 for a viewer.';
