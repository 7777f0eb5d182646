-- Lock order: receipts (by op_id), documents (by key), records (by key), the counters of the spaces, which are only tried
-- (docs/architecture.md, "The order of locks"). The counter is the last that is taken, with all checking and waiting
-- done before, and whoever finds it taken goes on without a number (perch.number_changes).
--
-- One change on its own is the common case, and most of what it costs is starting statements and expressions: so it has its own path
-- of four small statements here, and is looked at with few expressions of few functions (each is looked up, and its permission
-- checked, in every transaction). It is left for perch.push_many, before anything is written, as soon as anything is out of the
-- ordinary. So whatever is taken here must be what perch.push_many would take; what is left to it costs time alone.
--
-- ON CONFLICT names no constraint here: with a name Postgres also applies the policy for reading, which is several times as much to
-- start as the one for writing. The primary key is the only unique index of both tables, and nothing of the row in the way is
-- read: that there is one, perch.push_many and perch.write_changes find again, under the policies for reading.
--
-- seq of a record: see perch.write_changes.
create or replace function perch.push(app_id text, changes jsonb, client_id text, atomic boolean default false)
returns jsonb
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  now constant timestamptz := clock_timestamp();
  author constant text := current_setting('app.current_user_id', true);
  change constant jsonb := changes -> 0;
  given perch.plain_change;
  said text;
  space text;
  given_at timestamptz;
  moment timestamptz;
  taken bigint;
  is_written boolean;
  is_own boolean;
  written perch.change[];
  were_merged boolean := false;
begin
  -- What a path of JSON can tell, it tells as one function. In this (lax) kind of path a member that is missing is an empty list, of
  -- which every comparison is false. The first three conditions are what keeps $[0] ? (…) from looking into other lists.
  if pg_column_size(change) <= 2000 and author <> ''
     and changes @@ '$.type() == "array" && $.size() == 1 && $[0].type() == "object" && exists($[0] ? (
           @.data.type() == "object" && @.table.type() == "string" && @.table != "" && @.id.type() == "string" && @.id != ""
           && !(@.op_id.type() != "string") && !(@.op_id == "") && !(@.space_id.type() != "string") && !exists(@.**{100})))'
  then
    given := jsonb_populate_record(null::perch.plain_change, change);
    -- perch.change_content, of a change that has data and no schema_version.
    said := (change - '{at,space_id}'::text[])::text;
  end if;
  -- Nothing below reads a change that was not like that. Null, where something is not as expected, counts as false. Of the ids only
  -- the sum is looked at, which with usual ids is far below what each may have; of numbers, whether there can be one that
  -- perch.check_numbers might refuse: it has more digits.
  -- The limit is that of the whole change, which has at and space_id besides.
  if (said is not null and octet_length(said) <= 2000
      and octet_length(said) + 400 <= perch.setting('max_change_bytes', 1048576) and given.op in ('insert', 'update')
      and change - '{op,table,id,data,at,op_id,space_id}'::text[] = '{}'
      and octet_length(concat(given.id, given.op_id, client_id)) <= 256 and octet_length(given."table") <= 128
      and octet_length(app_id) <= 64 and app_id <> '' and (client_id <> '') is not false
      and concat(app_id, client_id, given."table", given.id, given.op_id) !~ E'[\\x01-\\x1f\\x7f]'
      and (octet_length(said) <= 300 or said !~ '[0-9]{255}')
      and (perch.is_time(given.at) and right(given.at, 1) = 'Z') is not false) is not true
  then
    -- Of one change alone it makes no difference.
    if atomic then
      return perch.push_atomic(app_id, changes, client_id, now);
    end if;
    return perch.push_many(app_id, changes, client_id, now);
  end if;

  if given.space_id is null then
    space := '~' || author;
  elsif given.space_id = any (perch.writable_space_ids()) then
    space := given.space_id;
  else
    return perch.push_many(app_id, changes, client_id, now);
  end if;

  moment := now;
  if given.at is not null then
    given_at := given.at;
    moment := given_at;
    if moment > now then
      moment := least(moment, now + perch.clock_tolerance());
    end if;
  end if;

  begin
    -- An ordinary table. With an op_id that is claimed by the same statement; a repetition finds it claimed.
    if given.op_id is not null then
      insert into perch.push_receipts (space_id, op_id, digest, created_at)
      select '~' || author, given.op_id, perch.change_digest(app_id, space, said, given_at, null), now
       where not exists (select from perch.document_tables t where t.app_id = push.app_id and t.table_name = given."table")
         and not exists (select from perch.schema_versions v where v.app_id = push.app_id and v.table_name = given."table" and v.current_version <> 1)
         and not exists (select from perch.synced_relations r where r.app_id = push.app_id and r.table_name = given."table")
         and not exists (select from perch.encrypted_tables t where t.app_id = push.app_id and t.table_name = given."table")
      on conflict do nothing;
    else
      perform
       where not exists (select from perch.document_tables t where t.app_id = push.app_id and t.table_name = given."table")
         and not exists (select from perch.schema_versions v where v.app_id = push.app_id and v.table_name = given."table" and v.current_version <> 1)
         and not exists (select from perch.synced_relations r where r.app_id = push.app_id and r.table_name = given."table")
         and not exists (select from perch.encrypted_tables t where t.app_id = push.app_id and t.table_name = given."table");
    end if;
    if not found then
      return perch.push_many(app_id, changes, client_id, now);
    end if;

    if given.op = 'insert' then
      insert into perch.stored_records
        (space_id, app_id, table_name, record_id, data, written_at, written_by, latest_at, inserted_at, seq, user_id, created_at, updated_at, size)
      values (space, push.app_id, given."table", given.id, given.data, moment, push.client_id, moment, moment,
              coalesce((select h.seq from perch.space_heads h where h.space_id = space), 0) + 1, author, now, now,
              -- As perch.record_size, which is asked only about what may be over its bound.
              case when octet_length(said) * (8 + coalesce(octet_length(push.client_id), 0) / 8) > 4000
                   then perch.record_size(given.data, null, '{}', octet_length(push.client_id)) end)
      on conflict do nothing;
    else
      -- Newer than everything the record has seen: it wins without looking further.
      update perch.stored_records r
         set data = r.data || given.data, latest_at = moment, updated_at = now,
             seq = greatest(r.seq, (select h.seq from perch.space_heads h where h.space_id = space) + 1),
             size = perch.record_size(r.data || given.data, null, r.field_meta, greatest(octet_length(r.written_by), octet_length(push.client_id))),
             field_meta = r.field_meta || (select coalesce(jsonb_object_agg(k, perch.stamp(moment, push.client_id)), '{}') from jsonb_object_keys(given.data) k)
       where r.space_id = space and r.app_id = push.app_id and r.table_name = given."table" and r.record_id = given.id
         and r.latest_at < moment and r.deleted_at is null and r.schema_version = 1
         -- Far from what perch.write_changes refuses: no small change brings it there.
         and (r.size is null or r.size < 131072);
    end if;

    is_written := found;
    if is_written then
      -- As perch.number_changes, where all is as usual: the counter is free, and nothing of the space is captured.
      update perch.space_heads h set seq = h.seq + 1, mark = perch.entry_mark(now)
       where h.space_id = (
         select x.space_id from perch.space_heads x
          where x.space_id = space and not perch.is_waiting(space)
            for no key update skip locked)
      returning h.seq into taken;
      if found then
        insert into perch.sync_changes (space_id, seq, app_id, table_name, record_id, op, data, at, user_id, client_id, op_id, created_at)
        values (space, taken, push.app_id, given."table", given.id, given.op, given.data, moment, author, push.client_id, given.op_id, now);
        return jsonb_build_object('results', array[
          jsonb_build_object('op_id', given.op_id, 'status', 'applied', 'space_id', space, 'seq', taken)]);
      end if;
      -- As perch.capture_changes, where the counter is there, and is not held by this transaction. No record that was written here
      -- was ever deleted.
      select coalesce(l.txid = pg_current_xact_id(), false) into is_own
        from perch.space_heads h left join perch.sync_changes l on l.space_id = h.space_id and l.seq = h.seq
       where h.space_id = space;
      if not is_own then
        insert into perch.captured_changes
          (ordinal, nth, txid, space_id, app_id, table_name, record_id, op, new_row, user_id, client_id, op_id, captured_at, at, schema_version)
        values (nextval('perch.capture_ordinal'), 1, pg_current_xact_id(), space, push.app_id, given."table", given.id, given.op, given.data,
                author, push.client_id, given.op_id, now, moment, 1);
        if given.op_id is not null then
          update perch.push_receipts r set result = jsonb_build_object('space_id', space, 'seq', null, 'txid', pg_current_xact_id()::text)
           where r.space_id = '~' || author and r.op_id = given.op_id;
        end if;
        perform perch.notify_unnumbered(array[space]);
        return jsonb_build_object('results', array[perch.applied(given.op_id, space, null)]);
      end if;
    end if;

    if given.at is null then
      moment := null;
    end if;
    written := array[row(1, space, given."table", given.id, given.op, given.data, null, coalesce(moment, now), given.at is null,
      moment, moment, given.op_id, null, 1, null, null, null, null, false)::perch.change];
    if not is_written then
      select w.changes, w.were_merged into written, were_merged
        from perch.write_changes(written, push.app_id, push.client_id, author, now) w;
    end if;
    return jsonb_build_object('results', array[perch.applied(given.op_id, space,
      (perch.log_written(written, push.app_id, push.client_id, author, now, were_merged))[1])]);
  -- A rule of the app's on perch's tables refused it: perch.push_many says so. (55000: one that is deferrable, with which ON CONFLICT has
  -- to name what it means.)
  exception when object_not_in_prerequisite_state or integrity_constraint_violation or data_exception or with_check_option_violation or raise_exception
              or sqlstate 'PE403' or sqlstate 'PE404' or sqlstate 'PE409' or sqlstate 'PE413' or sqlstate 'PE422' then
    return perch.push_many(app_id, changes, client_id, now);
  end;
end
$$;
grant execute on function perch.push to perch_app;

comment on function perch.push(text, jsonb, text, boolean) is
  'Writes changes of an app to the log and to the records, as the current user, in the caller''s transaction: changes is an array of {op, table, id, data, field_meta, at, op_id, space_id, schema_version, base_seq, base_revision, actor, origin}, of which only op (insert, update, delete), table and id are required; client_id names the device. Returns {"results": [{op_id, status, space_id, seq, error}]}, one for each change, in order, of documents with a revision that identifies seq; of a change that did not wait for its number seq is null, and txid names the transaction, with which it is pulled, as with its op_id: applied; replayed, when the op_id was applied before; rejected, with the code and message of the error (PE403, PE404, PE409, PE410, PE413, PE422), which harms no other change. A change may also call a function of the app: {"op": "call", "name", "args", "op_id"} (see perch.register_mutator), whose result is {op_id, status, txid, result}. atomic: all changes apply or none: those at fault have their errors, the others PE409 with {"reason": "aborted"}, and all may be sent again. Errors that refuse the whole push: PE401 without a user, PE413 for too many changes, PE422 when changes is not an array or app_id or client_id is unusable. Example: select perch.push(app_id => ''todo'', changes => ''[{"op": "insert", "table": "tasks", "id": "t1", "data": {"title": "Buy milk"}}]'', client_id => ''phone'');';
