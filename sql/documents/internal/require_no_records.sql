-- The records of a table that was none of documents would lose all that the first edit of each does not name. So a
-- table with live records is not declared, and none may come while it is: whoever writes records has read
-- document_tables before, in the same transaction, and holds the lock of a reader on it until the end. The exclusive
-- lock waits for all of them, and they for it, with what they read behind it: a statement takes its locks before its
-- snapshot. It is waited for briefly, since every writer waits behind it.
--
-- The policies show a reader's spaces, and bind this function too: so it names itself a reader of all spaces, some at a
-- time. Every space with records has a counter, or changes that wait for one to be made.
create or replace function perch.require_no_records(app_id text, table_name text)
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  reader constant text := current_setting('app.current_user_id', true);
  reads constant text := current_setting('app.current_user_space_ids', true);
  patience constant text := current_setting('lock_timeout');
  spaces text[];
  found_space text;
  found_id text;
  done text;
begin
  -- Without the lock first: what is refused need not wait, nor make others wait.
  for attempt in 1 .. 2 loop
    if attempt = 2 then
      done := set_config('lock_timeout', '2s', true);
      begin
        lock table perch.document_tables in access exclusive mode;
      exception when lock_not_available then
        perform perch.fail('PE409', 'transactions that write are open, and are waited for no longer',
          jsonb_build_object('table', require_no_records.table_name, 'waited_ms', 2000),
          'Declare it again when they have ended: pg_stat_activity shows them.');
      end;
      done := set_config('lock_timeout', patience, true);
    end if;

    done := set_config('app.current_user_id', 'perch', true);
    for spaces in
      select array_agg(n.space_id) from (
        select h.space_id, (row_number() over (order by h.space_id) - 1) / 1000 as page 
          from (select x.space_id from perch.space_heads x union select q.space_id from perch.captured_changes q) h) n
       group by n.page
    loop
      done := set_config('app.current_user_space_ids', spaces::text, true);
      select r.space_id, r.record_id into found_space, found_id
        from unnest(spaces) s
       cross join lateral (
         select x.space_id, x.record_id from perch.stored_records x
          where x.space_id = s and x.app_id = require_no_records.app_id and x.table_name = require_no_records.table_name
            and not x.deleted
          limit 1) r
       limit 1;
      exit when found_id is not null;
    end loop;
    done := set_config('app.current_user_space_ids', coalesce(reads, ''), true);
    done := set_config('app.current_user_id', coalesce(reader, ''), true);
    if found_id is not null then
      perform perch.fail('PE422', format('table %s has plain records, and a table of documents has none',
        require_no_records.table_name),
        jsonb_build_object('table', require_no_records.table_name, 'space_id', found_space, 'id', found_id),
        'Declare a table of another name and push what the records hold to it, or delete them by a push first.');
    end if;
  end loop;
end
$$;

comment on function perch.require_no_records(text, text) is
  'Private. PE422 when a table has live records. Otherwise none can be pushed to it as such until the transaction ends. PE409 when open transactions are in the way for 2 seconds.';
