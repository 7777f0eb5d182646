-- The trigger of a synced table, behind each statement that writes (perch.make_sync_triggers makes it; arguments: app,
-- table, how the space is told and by what, the columns of the primary key).
--
-- Once for each statement, with all its rows in transition tables: so nothing is missed, whatever wrote (COPY, MERGE,
-- an upsert, a cascade, and what other triggers made of the row), and what is rolled back was never captured. It runs
-- as perch_owner: the writer needs no right on perch's tables, and no context. It locks nothing that another writer
-- needs: it appends to a queue, and takes a number from a sequence.
--
-- The number (ordinal) is taken behind the statement, while its row locks are held. So of two transactions the one that
-- overwrote, or read, what the other had committed has the greater last number: that is what the sequencer goes by
-- (perch.number_captured).
--
-- Values are written as JSON by Postgres itself, and exactly: under settings that are the same whatever the writer's
-- session has. Setting them in the function itself would take a fourth of its time.
--
-- Each transaction prepares each expression anew, and each function that a statement names: for a writer of single rows
-- that is most of the cost. So the usual case is one condition and one short statement: no push and no trigger wrote,
-- the settings are right, nobody need be notified, the table has one column for its key and one for the space; of an
-- update, rows that keep both. Where that finds nothing, and in all other cases, the whole is done below.
--
-- Postgres adds old row and new one to the transition tables in one step, so the nth of the one became the nth of the
-- other. That is taken for true where both have the same key, which they do not have by chance, and are in the same
-- space. Where any two are not (the statement changed keys, or moved rows to other spaces; a trigger kept a row back),
-- perch.captured_by_key tells by the keys what the statement did.
--
-- A space that is an expression is put into the statement, which then is planned anew each time: a generated column,
-- and space_column, cost a writer of single rows a third of that. One that fails must not fail the writer. Then each
-- row is asked for itself, and the one at fault is in no space, so in no log, until it is written again with the
-- expression mended; doctor finds such rows (perch.table_problems).
create or replace function perch.capture_statement()
returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  taken constant bigint := nextval('perch.capture_ordinal');
  now constant timestamptz := clock_timestamp();
  author constant text := left(nullif(current_setting('app.current_user_id', true), ''), 255);
  usual constant boolean := tg_nargs = 5 and tg_argv[2] = 'column' and pg_trigger_depth() = 1
    -- While a worker has promised to look by itself nobody notifies; a session remembers for how long.
    and current_setting('perch.watched_until', true) collate "C" > now::text
    -- One comparison, since each costs: what values look like under the settings of the session, and that nothing is
    -- noted of a push, or of a trigger that wrote.
    and concat(current_setting('timezone'), current_setting('row_security'), date '2001-12-31', interval '1 day',
      bytea 'a', float8 '0.30000000000000004', current_setting('perch.nested', true),
      current_setting('perch.push_client_id', true), current_setting('perch.push_op_ids', true))
      in (E'UTCon2001-12-311 day\\x610.30000000000000004', E'Etc/UTCon2001-12-311 day\\x610.30000000000000004');
  client text;
  op_ids jsonb;
  settings_before jsonb;
  total bigint;
  bytes bigint;
  captured bigint;
  others boolean;
begin
  if usual then
    if tg_op = 'INSERT' then
      insert into perch.captured_changes
        (ordinal, nth, txid, space_id, app_id, table_name, record_id, op, new_row, user_id, captured_at)
      select taken, row_number() over (), pg_current_xact_id(), r.space_id, tg_argv[0], tg_argv[1], r.record_id,
             'insert', r.row, author, now
        from (
          select x.row, x.row ->> tg_argv[3] as space_id, x.row ->> tg_argv[4] as record_id
            from (select to_jsonb(n.*) as row from perch_new n offset 0) x
          offset 0) r
       where octet_length(r.space_id) between 1 and 256 and r.record_id is not null;
    elsif tg_op = 'UPDATE' then
      insert into perch.captured_changes
        (ordinal, nth, txid, space_id, app_id, table_name, record_id, op, old_row, new_row, user_id, captured_at)
      select taken, 1, pg_current_xact_id(), n.row ->> tg_argv[3], tg_argv[0], tg_argv[1], n.row ->> tg_argv[4],
             'update', o.row, n.row, author, now
        from (select to_jsonb(x.*) as row from perch_old x offset 0) o
       cross join (select to_jsonb(x.*) as row from perch_new x offset 0) n
       where not exists (select from perch_new offset 1)
         and n.row ->> tg_argv[4] = o.row ->> tg_argv[4] and n.row ->> tg_argv[3] = o.row ->> tg_argv[3]
         and octet_length(n.row ->> tg_argv[3]) between 1 and 256;
    end if;
    if found then
      return null;
    end if;
    if tg_op = 'UPDATE' then
      -- Of many rows side by side, where all keep both; in memory, so of no more than has room there.
      select count(*), sum(pg_column_size(n.*)) into total, bytes from perch_new n;
      if total = 0 then
        return null;
      end if;
      if total > 1 and bytes < 33554432 then
        insert into perch.captured_changes
          (ordinal, nth, txid, space_id, app_id, table_name, record_id, op, old_row, new_row, user_id, captured_at)
        select taken, r.nth, pg_current_xact_id(), r.new_row ->> tg_argv[3], tg_argv[0], tg_argv[1],
               r.new_row ->> tg_argv[4], 'update', r.old_row, r.new_row, author, now
          from (
            select generate_series(1, cardinality(l.new_rows)) as nth, unnest(l.old_rows) as old_row,
                   unnest(l.new_rows) as new_row
              from (
                -- What was counted is as it is stored; as JSON, either side may be a hundred times as long. What is
                -- beyond the room is none here, so the whole is done below.
                select array(select case when sum(pg_column_size(o.row)) over (rows unbounded preceding) < 67108864
                               then o.row end
                               from (select to_jsonb(x.*) as row from perch_old x offset 0) o) as old_rows,
                       array(select case when sum(pg_column_size(n.row)) over (rows unbounded preceding) < 67108864
                               then n.row end
                               from (select to_jsonb(x.*) as row from perch_new x offset 0) n) as new_rows
                offset 0) l
            offset 0) r
         where r.new_row ->> tg_argv[4] = r.old_row ->> tg_argv[4]
           and r.new_row ->> tg_argv[3] = r.old_row ->> tg_argv[3]
           and octet_length(r.new_row ->> tg_argv[3]) between 1 and 256;
        get diagnostics captured = row_count;
        if captured = total then
          return null;
        end if;
        delete from perch.captured_changes c where c.ordinal = taken;
      end if;
    end if;
  end if;

  op_ids := nullif(current_setting('perch.push_op_ids', true), '')::jsonb -> concat(tg_argv[0], ' ', tg_argv[1]);
  client := left(nullif(current_setting('perch.push_client_id', true), ''), 256);
  if (current_setting('timezone') in ('UTC', 'Etc/UTC', 'GMT', 'Etc/GMT')
      and left(current_setting('datestyle'), 3) = 'ISO' and current_setting('intervalstyle') = 'postgres'
      and current_setting('bytea_output') = 'hex' and current_setting('extra_float_digits') in ('1', '2', '3')
      and current_setting('row_security') = 'on') is not true then
    settings_before := perch.pin_settings();
  end if;
  if tg_argv[2] = 'expression' then
    begin
      execute perch.captured_by_key(tg_op, tg_relid, tg_argv, format('(%s)::text', tg_argv[3]))
        using taken, tg_argv[0], tg_argv[1], author, client, op_ids, now;
      get diagnostics captured = row_count;
    exception when assert_failure or others then
      if perch.is_servers_code(sqlstate) then
        raise;
      end if;
      execute perch.captured_by_key(tg_op, tg_relid, tg_argv, format('perch.try_space(%L, %s, to_jsonb(x.*))',
        tg_argv[3], tg_relid))
        using taken, tg_argv[0], tg_argv[1], author, client, op_ids, now;
      get diagnostics captured = row_count;
    end;
  elsif tg_op = 'UPDATE' then
    with pairs as (
      select o.row as old_row, n.row as new_row,
             coalesce(case when tg_nargs = 5 then o.row ->> tg_argv[4] end,
               perch.row_id(tg_relid, o.row, tg_argv[4:])) as old_id,
             coalesce(case when tg_nargs = 5 then n.row ->> tg_argv[4] end,
               perch.row_id(tg_relid, n.row, tg_argv[4:])) as new_id,
             case when tg_argv[2] = 'constant' then tg_argv[3] when o.row ? tg_argv[3] then o.row ->> tg_argv[3]
                  else perch.renamed_space(tg_relid, o.row) end as old_space,
             case when tg_argv[2] = 'constant' then tg_argv[3] when n.row ? tg_argv[3] then n.row ->> tg_argv[3]
                  else perch.renamed_space(tg_relid, n.row) end as new_space
        from (select row_number() over () as nth, to_jsonb(x.*) as row from perch_old x) o
        full join (select row_number() over () as nth, to_jsonb(x.*) as row from perch_new x) n on n.nth = o.nth
      offset 0
    ),
    added as (
      insert into perch.captured_changes
        (ordinal, nth, txid, space_id, app_id, table_name, record_id, op, old_row, new_row, user_id, client_id, op_id,
         captured_at)
      select taken, row_number() over (), pg_current_xact_id(), coalesce(p.new_space, p.old_space), tg_argv[0],
             tg_argv[1], coalesce(p.new_id, p.old_id),
             case when p.new_id = p.old_id and p.new_space = p.old_space then 'update' else 'other' end,
             p.old_row, p.new_row, author, client, op_ids ->> p.new_id, now
        from pairs p
       where (octet_length(p.old_space) between 1 and 256 or octet_length(p.new_space) between 1 and 256)
         and coalesce(p.new_id, p.old_id) is not null
      returning op
    )
    select count(*), bool_or(a.op = 'other') into captured, others from added a;
    if others then
      delete from perch.captured_changes c where c.ordinal = taken;
      execute perch.captured_by_key(tg_op, tg_relid, tg_argv, null)
        using taken, tg_argv[0], tg_argv[1], author, client, op_ids, now;
    end if;
  else
    -- Of the one there is no table of old rows, of the other none of new ones: what is not executed is not looked at.
    if tg_op = 'INSERT' then
      insert into perch.captured_changes
        (ordinal, nth, txid, space_id, app_id, table_name, record_id, op, new_row, user_id, client_id, op_id,
         captured_at)
      select taken, row_number() over (), pg_current_xact_id(), r.space_id, tg_argv[0], tg_argv[1], r.record_id,
             'insert', r.row, author, client, op_ids ->> r.record_id, now
        from (
          select x.row, coalesce(case when tg_nargs = 5 then x.row ->> tg_argv[4] end,
                   perch.row_id(tg_relid, x.row, tg_argv[4:])),
                 case when tg_argv[2] = 'constant' then tg_argv[3] when x.row ? tg_argv[3] then x.row ->> tg_argv[3]
                      else perch.renamed_space(tg_relid, x.row) end
            from (select to_jsonb(n.*) as row from perch_new n offset 0) x) r (row, record_id, space_id)
       where octet_length(r.space_id) between 1 and 256 and r.record_id is not null;
    else
      insert into perch.captured_changes
        (ordinal, nth, txid, space_id, app_id, table_name, record_id, op, old_row, user_id, client_id, op_id,
         captured_at)
      select taken, row_number() over (), pg_current_xact_id(), r.space_id, tg_argv[0], tg_argv[1], r.record_id,
             'delete', r.row, author, client, op_ids ->> r.record_id, now
        from (
          select x.row, coalesce(case when tg_nargs = 5 then x.row ->> tg_argv[4] end,
                   perch.row_id(tg_relid, x.row, tg_argv[4:])),
                 case when tg_argv[2] = 'constant' then tg_argv[3] when x.row ? tg_argv[3] then x.row ->> tg_argv[3]
                      else perch.renamed_space(tg_relid, x.row) end
            from (select to_jsonb(o.*) as row from perch_old o offset 0) x) r (row, record_id, space_id)
       where octet_length(r.space_id) between 1 and 256 and r.record_id is not null;
    end if;
    get diagnostics captured = row_count;
  end if;

  if captured > 0 then
    -- Only a cascade has Postgres fire the trigger of deletions again.
    if tg_op = 'DELETE' and exists (
      select from (
        select c.op, c.table_name from perch.captured_changes c
         where c.txid = pg_current_xact_id() and c.nth = 1 and c.ordinal < taken order by c.ordinal desc limit 20) c
       where c.op <> 'update' and c.table_name = tg_argv[1]
         and exists (
           select from pg_constraint f where f.conrelid = tg_relid and f.contype = 'f' and f.confdeltype = 'c'))
    then
      perform perch.place_deleted(tg_relid, taken);
    end if;
    -- Statements of triggers end before the one that set them off.
    if pg_trigger_depth() > 1 or current_setting('perch.nested', true) <> '' then
      perform perch.place_nested(tg_relid, taken, pg_trigger_depth());
    end if;
    if (current_setting('perch.watched_until', true) collate "C" > now::text) is not true then
      perform perch.notify_captured();
    end if;
  end if;
  if settings_before is not null then
    perform perch.unpin_settings(settings_before);
  end if;
  return null;
end
$$;

comment on function perch.capture_statement() is
  'Private. Trigger of synced tables, behind each statement that writes: adds its rows to what the sequencer gives numbers.';
