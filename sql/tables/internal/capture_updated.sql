-- See perch.capture_inserted. What is particular to updates: which old row became which new one.
--
-- Postgres adds both to the transition tables in one step, row by row, so the nth of the one became the nth of the
-- other. That is taken for true where both have the same key, which they do not have by chance, and are in the same
-- space. Where any two are not (the statement changed keys, or moved rows to other spaces; a trigger kept a row back),
-- perch.captured_by_key tells by the keys what the statement did.
create or replace function perch.capture_updated()
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
  others boolean;
begin
  with added as (
    insert into perch.captured_changes
      (ordinal, nth, txid, space_id, app_id, table_name, record_id, op, old_row, new_row, user_id, client_id, op_id,
        captured_at)
    select taken, row_number() over (), pg_current_xact_id(), coalesce(k.new_space, k.old_space), tg_argv[0],
      tg_argv[1], k.new_id,
           case when k.new_id = k.old_id and k.new_space = k.old_space then 'update' else 'other' end, k.old_row,
             k.new_row,
           author, client, op_ids ->> k.new_id, now
      from (
        select o.row, n.row,
               coalesce(case when tg_nargs = 5 then o.row ->> tg_argv[4] end, perch.row_id(tg_relid, o.row,
                 tg_argv[4:])),
               coalesce(case when tg_nargs = 5 then n.row ->> tg_argv[4] end, perch.row_id(tg_relid, n.row,
                 tg_argv[4:])),
               case when tg_argv[2] = 'constant' then tg_argv[3] when o.row ? tg_argv[3] then o.row ->> tg_argv[3]
                    else perch.renamed_space(tg_relid, o.row) end,
               case when tg_argv[2] = 'constant' then tg_argv[3] when n.row ? tg_argv[3] then n.row ->> tg_argv[3]
                    else perch.renamed_space(tg_relid, n.row) end
          from (select row_number() over () as nth, to_jsonb(x.*) as row from perch_old x) o
          full join (select row_number() over () as nth, to_jsonb(x.*) as row from perch_new x) n on n.nth = o.nth
        offset 0) k (old_row, new_row, old_id, new_id, old_space, new_space)
     where octet_length(k.old_space) between 1 and 256 or octet_length(k.new_space) between 1 and 256
    returning op
  )
  select count(*), bool_or(a.op = 'other') into captured, others from added a;
  if others then
    delete from perch.captured_changes c where c.ordinal = taken;
    execute perch.captured_by_key(tg_op, tg_relid, tg_argv, null)
      using taken, tg_argv[0], tg_argv[1], author, client, op_ids, now;
  end if;
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

comment on function perch.capture_updated() is
  'Private. Trigger of synced tables, behind each statement that updates: adds its rows to what the sequencer gives numbers.';
