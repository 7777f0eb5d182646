-- A cursor of perch.read_log: {"v": 1, "reader", "since", "epoch", "position", "mark"}, and "seq" where it stands in
-- the middle of what a transaction logged in a space. The mark is the moment at which the transaction at that position
-- was noted: a database that went back gives positions out again. since: perch.reader_mark; when the last reader is
-- taken away, positions begin anew, and what is logged until the next comes is not noted.
create or replace function perch.read_log_cursor(cursor jsonb, reader text, out place bigint, out seq bigint)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  reason text;
  noted text;
  oldest bigint;
  latest bigint;
begin
  select min(c.position), max(c.position) into oldest, latest from perch.commit_order c where c.position is not null;
  if cursor is null or cursor in ('{}', 'null') then
    reason := 'new';
  elsif jsonb_typeof(cursor) <> 'object' or cursor -> 'v' is distinct from '1'
     or cursor ->> 'reader' is distinct from reader or (cursor ->> 'position' ~ '^[0-9]{1,18}$') is not true
     or (coalesce(cursor ->> 'seq', '0') ~ '^[0-9]{1,18}$') is not true
  then
    perform perch.fail('PE422', 'the cursor is none of this reader', jsonb_build_object('argument', 'cursor'),
      'Pass the cursor of the last answer as it came; {} where there is none yet.');
  else
    place := (cursor ->> 'position')::bigint;
    seq := (cursor ->> 'seq')::bigint;
    noted := (select perch.entry_mark(c.at) from perch.commit_order c where c.position = read_log_cursor.place);
    reason := case
      when cursor ->> 'since' is distinct from perch.reader_mark(reader) then 'new'
      when cursor ->> 'epoch' <> (select e.epoch::text from perch.log_epoch e) then 'epoch'
      when place > coalesce(latest, 0) then 'ahead'
      when place < oldest - 1 then 'expired'
      when noted is not null and noted is distinct from cursor ->> 'mark' then 'epoch' end;
  end if;
  if reason is not null then
    perform perch.fail('PE410', 'the log does not go on from this cursor',
      jsonb_build_object('reason', reason, 'oldest', oldest, 'latest', latest),
      'Take perch.read_log_snapshot, page by page, and read on from the cursor that it returns.');
  end if;
end
$$;

comment on function perch.read_log_cursor(jsonb, text) is
  'Private. Where a reader of a service is. Errors: PE410 with {"reason": "new|expired|ahead|epoch"}, PE422.';
