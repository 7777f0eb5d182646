create or replace function perch.console_retry(
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
  done := perch.retry_update(console_retry.space_id, console_retry.app_id, console_retry.table_name,
    console_retry.record_id, console_retry.seq);
  if done then
    perform perch.note_console_action('retry', jsonb_build_object('space_id', console_retry.space_id,
      'app_id', console_retry.app_id, 'table', console_retry.table_name, 'id', console_retry.record_id,
      'seq', console_retry.seq));
  end if;
  return json_build_object('done', done);
end
$$;
grant execute on function perch.console_retry to perch_worker;

comment on function perch.console_retry(text, text, text, text, bigint) is
  'For perch_worker, of the console: perch.retry_update, written down in perch.console_actions: {"done"}. Errors: PE401, PE403 for a viewer.';
