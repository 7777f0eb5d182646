-- What the triggers of a synced table have in common (perch.sync_table makes them; arguments: app, table, how the space
-- is told and by what, the columns of the primary key).
--
-- Once for each statement, with all its rows in a transition table: so nothing is missed, whatever wrote (COPY, MERGE,
-- an upsert, a cascade, and what other triggers made of the row), and what is rolled back was never captured. It runs
-- as perch_owner: the writer needs no right on perch's tables, and no context. It locks nothing that another writer
-- needs: it appends to a queue, and takes a number from a sequence.
--
-- The number (ordinal) is taken behind the statement, while its row locks are held. So of two transactions the one that
-- overwrote, or read, what the other had committed has the greater last number: that is what the sequencer goes by
-- (perch.number_captured).
--
-- Values are written as JSON by Postgres itself, and exactly: under settings that are the same whatever the writer's
-- session has.
create or replace function perch.capture_inserted()
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
begin
  insert into perch.captured_changes
    (ordinal, nth, txid, space_id, app_id, table_name, record_id, op, new_row, user_id, client_id, op_id, captured_at)
  select taken, row_number() over (), pg_current_xact_id(), r.space_id, tg_argv[0], tg_argv[1], r.record_id, 'insert',
    r.row,
         author, client, op_ids ->> r.record_id, now
    from (
      select x.row, coalesce(case when tg_nargs = 5 then x.row ->> tg_argv[4] end, perch.row_id(tg_relid, x.row,
        tg_argv[4:])),
             case when tg_argv[2] = 'constant' then tg_argv[3] when x.row ? tg_argv[3] then x.row ->> tg_argv[3]
                  else perch.renamed_space(tg_relid, x.row) end
        from (select to_jsonb(n.*) as row from perch_new n offset 0) x) r (row, record_id, space_id)
   where octet_length(r.space_id) between 1 and 256;
  if found then
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

comment on function perch.capture_inserted() is
  'Private. Trigger of synced tables, behind each statement that inserts: adds its rows to what the sequencer gives numbers.';
