-- See perch.capture_inserted; of tables whose space is told by an expression. It is put into the statement, and so is
-- planned anew by each: a generated column, and space_column, cost a writer of single rows a third of that.
--
-- An expression that fails must not fail the writer. Then each row is asked for itself, and the one at fault is in no
-- space, so in no log, until it is written again with the expression mended; doctor finds such rows
-- (perch.table_problems).
create or replace function perch.capture_by_expression()
returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  now constant timestamptz := clock_timestamp();
  author constant text := left(nullif(current_setting('app.current_user_id', true), ''), 255);
  client constant text := left(nullif(current_setting('perch.push_client_id', true), ''), 256);
  op_ids constant jsonb := nullif(current_setting('perch.push_op_ids', true), '');
  -- Only where it differs from what values are written by: a setting of the function itself is set by every call, which
  -- takes a fourth of its time.
  session_settings constant jsonb := case when (
    current_setting('timezone') in ('UTC', 'Etc/UTC', 'GMT', 'Etc/GMT') and left(current_setting('datestyle'),
      3) = 'ISO'
    and current_setting('intervalstyle') = 'postgres' and current_setting('bytea_output') = 'hex'
    and current_setting('extra_float_digits') in ('1', '2', '3') and current_setting('row_security') = 'on') is not true
    then perch.pin_settings() end;
  taken constant bigint := nextval('perch.capture_ordinal');
  captured bigint;
begin
  begin
    execute perch.captured_by_key(tg_op, tg_relid, tg_argv, format('(%s)::text', tg_argv[3]))
      using taken, tg_argv[0], tg_argv[1], author, client, op_ids, now;
    get diagnostics captured = row_count;
  exception when data_exception or undefined_column or undefined_function or program_limit_exceeded or raise_exception
    or insufficient_privilege then
    execute perch.captured_by_key(tg_op, tg_relid, tg_argv, format('perch.try_space(%L, %s, to_jsonb(x.*))',
      tg_argv[3], tg_relid))
      using taken, tg_argv[0], tg_argv[1], author, client, op_ids, now;
    get diagnostics captured = row_count;
  end;
  if captured > 0 then
    -- Statements of triggers end before the one that set them off.
    if pg_trigger_depth() > 1 or current_setting('perch.nested', true) <> '' then
      perform perch.place_nested(tg_relid, taken, pg_trigger_depth());
    end if;
    -- While a worker has promised to look by itself nobody notifies; a session remembers for how long.
    if coalesce(nullif(current_setting('perch.watched_until', true), '')::float8, 0) <= extract(epoch from now) then
      perform perch.notify_captured();
    end if;
  end if;
  if session_settings is not null then
    perform perch.unpin_settings(session_settings);
  end if;
  return null;
end
$$;

comment on function perch.capture_by_expression() is
  'Private. Trigger of synced tables, behind each statement that writes: adds its rows to what the sequencer gives numbers.';
