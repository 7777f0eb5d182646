-- Lock order: the sequencer's row, which only sequencers lock, and only try; the counters of the spaces, by id, like
-- every writer (docs/architecture.md, "The order of locks"). Counters are only tried, but for the first, for which it
-- waits with none in hand.
--
-- Why the numbers are in commit order. A batch is a beginning of what is visible here, in the order of transactions by
-- their greatest ordinal. (1) What an earlier batch has was visible earlier, and what was not visible then had not
-- committed: none of the earlier one can rest on it. (2) Within a batch: if T2 overwrote, or read and then wrote, what
-- T1 had written, T1 had committed before that statement of T2; all ordinals of T1 were taken before, and that of the
-- statement behind: so T1's greatest is smaller. (What T2 reads behind its last statement that writes is in nothing
-- that it wrote, and has no bearing on its place.) (3) A transaction is visible as a whole, and is taken as a whole.
-- (4) Whoever takes the counter of a space next has waited for our commit.
--
-- Open transactions delay nobody: what they wrote is not visible, and not waited for. They may have ordinals below what
-- has been given numbers already; so where to go on is told by an ordinal (bound) and, for what lies below it, by the
-- transactions that were open then. Whoever had taken an ordinal up to bound had a transaction id, so was open in the
-- snapshot that was taken behind reading it, or over.
--
-- Where nothing is left, and no line, whatever is captured is of transactions that are open, or to come: waits_from is
-- the oldest of them (our own may be: a reader that has written, and goes on to), and what asks for changes of a space
-- looks from there on. (A copy of the database may count its transactions anew: then waits_from is ahead of them, and
-- means nothing.)
--
-- Plans are kept, and may have been made while the queue was empty: without enable_seqscan they would go over all of it
-- for every key when it is not.
--
-- A space whose counter somebody holds keeps its changes back, and no other space, but where rows moved from it to
-- there (perch.keep_with_held): they are put in a line (queued), in the order that they had, and what comes later
-- for that space behind them. When there is a line, its counter is waited for, for a moment: a counter that many
-- take in turn would never be found free by trying.
--
-- What the log cannot take, for whatever is in it, must not stop the others either. Then the space that it is in is
-- found, and treated as if its counter were taken: its changes stay in their line, in their order. It is tried again
-- each minute (perch.sequencer has it in stuck, and doctor shows it).
create or replace function perch.number_captured(max_count integer, may_wait boolean)
returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
as $$
declare
  state perch.sequencer;
  latest bigint;
  chosen record;
  batch record;
  wanted text[];
  free text[];
  lined text[];
  started timestamptz;
  elapsed double precision;
  moved bigint := 0;
  kept bigint := 0;
  size integer;
  lines text[];
  unlined text[] := '{}';
  still_stuck jsonb;
  fault record;
  faults integer := 0;
begin
  -- As a rule. The lock would be written to the log of the database, however little there is to do.
  if not perch.has_captured() then
    return 0;
  end if;
  select * into state from perch.sequencer for update skip locked;
  if not found then
    return 0;
  end if;
  -- In a statement before the one that looks: whoever has an ordinal up to this one is in its snapshot, or listed there
  -- as open.
  select case when s.is_called then s.last_value else 0 end into latest from perch.capture_ordinal s;
  if latest < state.bound then
    -- A copy of the database that left the sequence behind.
    state.bound := 0;
  end if;
  size := greatest(1, least(max_count, state.batch_size));

  lined := case when (select c.space_id from perch.captured_changes c where c.queued is not null
    order by c.space_id limit 1) is null then '{}' else perch.lined_spaces() end;
  if lined <> '{}' and may_wait then
    perform perch.wait_for_head(lined[1]);
  end if;

  chosen := perch.choose_captured(state.bound, state.open_txids, latest, size);
  -- Only what has several statements can be out of order, and most transactions have one.
  if cardinality(chosen.ordinals) > (select count(distinct e) from unnest(chosen.ends) e) then
    perform perch.mend_order(chosen.ordinals, chosen.ends);
  end if;

  wanted := array(
    select x.space_id
      from unnest(chosen.ordinals) b (ordinal)
     cross join lateral (select c.space_id from perch.captured_changes c where c.ordinal = b.ordinal
       and c.queued is null offset 0) x
    union select unnest(lined));
  free := perch.try_heads(array(
    select w from unnest(wanted) w
     where ((state.stuck -> w ->> 'at')::timestamptz > clock_timestamp() - interval '1 minute') is not true));
  still_stuck := state.stuck;
  started := clock_timestamp();
  loop
    if cardinality(free) < cardinality(wanted) then
      free := perch.keep_with_held(free, chosen.ordinals);
    end if;
    begin
      lines := lined;
      moved := 0;
      if lines <> '{}' then
        moved := perch.move_captured(array(select l from unnest(lines) l where l = any (free)), null, null, size);
        lines := perch.lined_spaces();
      end if;
      if chosen.ordinals <> '{}' then
        if lines <> '{}' then
          -- What was left in a line is held back as well.
          unlined := perch.keep_with_held(array(select f from unnest(free) f where f <> all (lines)), chosen.ordinals);
        else
          unlined := free;
        end if;
        moved := moved + perch.move_captured(unlined, chosen.ordinals, chosen.ends, null);
      end if;
      exit;
    exception when data_exception or program_limit_exceeded or integrity_constraint_violation or internal_error then
      if free = '{}' then
        raise;
      end if;
      fault := perch.space_at_fault(free, lined, chosen.ordinals, chosen.ends, size);
    end;
    -- Of many, some in this batch: then all of it is lined up, and the next goes on.
    faults := faults + 1;
    free := array(select f from unnest(free) f where f <> fault.space_id and faults < 20);
    still_stuck := still_stuck || jsonb_build_object(fault.space_id,
      jsonb_build_object('at', clock_timestamp(), 'reason', fault.reason));
  end loop;
  lined := lines;
  if cardinality(unlined) < cardinality(wanted) then
    kept := perch.line_up(chosen.ordinals, chosen.ends);
  end if;
  if faults >= 20 then
    -- There is more to do.
    kept := greatest(kept, 1);
  end if;
  if still_stuck <> '{}' then
    still_stuck := (select coalesce(json_object_agg(e.key, e.value)::jsonb, '{}') from jsonb_each(still_stuck) e
      where e.key = any (wanted) and e.key <> all (free));
  end if;
  if still_stuck <> state.stuck then
    update perch.sequencer s set stuck = still_stuck;
  end if;
  -- Readers are waiting, and nobody else commits this.
  perform set_config('perch.notifies_itself', 'on', true);
  -- As large as a batch may be, or with something left in a line: the worker does not pause.
  perform set_config('perch.sequencer_behind', case when chosen.is_all and lined = '{}' then '' else 'on' end, true);
  elapsed := extract(epoch from clock_timestamp() - started) * 1000;

  -- So many take some 8 ms: with the commit, that is well under what a writer may be kept waiting. Of a few changes
  -- that were all there was, most of the time is what any batch costs, and waiting for a processor: they say nothing
  -- of many.
  size := case when moved = 0 or chosen.is_all and moved < 200 and elapsed < 200 then state.batch_size
               else greatest(50, least(5000, moved * 8 / greatest(elapsed, 0.1)))::integer end;
  if moved + kept > 0 and (state.noted_at < clock_timestamp() - interval '200 milliseconds' or elapsed > 12
    and size < state.batch_size / 2)
     -- An older snapshot does not show who was open when the sequence was read.
     and current_setting('transaction_isolation') = 'read committed'
  then
    update perch.sequencer s
       set bound = chosen.new_bound, open_txids = chosen.new_open, noted_at = clock_timestamp(), batch_size = size,
           waits_from = case when chosen.is_all and lined = '{}' and kept = 0
             then (select min(o) from unnest(chosen.new_open || pg_current_xact_id()) o) else s.waits_from end;
  end if;
  return moved + kept;
end
$$;
grant execute on function perch.number_captured to perch_worker;

comment on function perch.number_captured(integer, boolean) is
  'Private. Gives a batch of captured changes, of at most max_count where transactions are not larger, their numbers; returns how many it moved on. 0: there is nothing to do, or somebody else is at it.';
