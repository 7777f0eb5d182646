-- Lock order: as perch.push (docs/architecture.md, "The order of locks").
--
-- One change on its own is the common case, and most of what it costs is starting statements and expressions: so it has
-- its own path of four small statements here, and is looked at with few expressions of few functions (each is looked
-- up, and its permission checked, in every transaction). It is left for perch.push_many, before anything is written, as
-- soon as anything is out of the ordinary. So whatever is taken here must be what perch.push_many would take; what is
-- left to it costs time alone.
--
-- There is no ON CONFLICT here, which looks into the indexes before it writes, and writes twice: a row that is there
-- already is an error, as what a rule refuses is, and undone with all else. That there is one, perch.push_many and
-- perch.write_changes find again, under the policies for reading.
--
-- seq of a record: see perch.write_changes.
create or replace function perch.push_single(app_id text, changes jsonb, client_id text, now timestamptz)
returns jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  author constant text := current_setting('app.current_user_id', true);
  personal constant text := perch.personal_space_id(author);
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
  code text;
begin
  -- What a path of JSON can tell, it tells as one function. In this (lax) kind of path a member that is missing is an
  -- empty list, of which every comparison is false. The first three conditions are what keeps $[0] ? (…) from looking
  -- into other lists.
  if pg_column_size(change) <= 2000 and author <> ''
     and changes @@ '$.type() == "array" && $.size() == 1 && $[0].type() == "object" && exists($[0] ? (
           @.data.type() == "object" && @.table.type() == "string" && @.table != ""
           && @.id.type() == "string" && @.id != "" && !(@.op_id.type() != "string") && !(@.op_id == "")
           && !(@.space_id.type() != "string") && !exists(@.**{100})))'
  then
    given := jsonb_populate_record(null::perch.plain_change, change);
    -- perch.change_content, of a change that has data and no schema_version.
    said := (change - '{at,space_id}'::text[])::text;
  end if;
  -- Nothing below reads a change that was not like that. Null, where something is not as expected, counts as false. Of
  -- the ids only the sum is looked at, which with usual ids is far below what each may have; of numbers, whether there
  -- can be one that perch.check_numbers might refuse: it has more digits.
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
    return null;
  end if;

  if given.space_id is null then
    space := personal;
  elsif given.space_id = any (perch.writable_space_ids()) then
    space := given.space_id;
  else
    return null;
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
    -- Asked by itself: as the source of the INSERT below it costs twice as much to start.
    perform from perch.in_plain_table(app_id, given."table");
    if not found then
      return null;
    end if;
    -- A repetition finds its op_id claimed.
    if given.op_id is not null then
      insert into perch.push_receipts (space_id, op_id, digest, created_at)
      values (personal, given.op_id, perch.change_digest(app_id, space, said, given_at, null), now);
    end if;

    if given.op = 'insert' then
      insert into perch.stored_records
        (space_id, app_id, table_name, record_id, data, written_at, written_by, latest_at, inserted_at, seq, user_id,
         created_at, updated_at, size)
      values (space, push_single.app_id, given."table", given.id, given.data, moment, push_single.client_id, moment,
              moment, coalesce((select h.seq from perch.space_heads h where h.space_id = space), 0) + 1, author,
              now, now,
              -- As perch.record_size, which is asked only about what may be over its bound.
              case when octet_length(said) * (8 + coalesce(octet_length(push_single.client_id), 0) / 8) > 4000
                   then perch.record_size(given.data, null, '{}', octet_length(push_single.client_id)) end);
    else
      -- Newer than everything the record has seen: it wins without looking further.
      update perch.stored_records r
         set data = r.data || given.data, latest_at = moment, updated_at = now,
             seq = greatest(r.seq, (select h.seq from perch.space_heads h where h.space_id = space) + 1),
             size = perch.record_size(r.data || given.data, null, r.field_meta,
               greatest(octet_length(r.written_by), octet_length(push_single.client_id))),
             field_meta = r.field_meta || (
               select coalesce(jsonb_object_agg(k, perch.stamp(moment, push_single.client_id)), '{}')
                 from jsonb_object_keys(given.data) k)
       where r.space_id = space and r.app_id = push_single.app_id
         and r.table_name = given."table" and r.record_id = given.id
         and r.latest_at < moment and r.deleted_at is null and r.schema_version = 1
         -- Far from what perch.write_changes refuses: no small change brings it there.
         and (r.size is null or r.size < 131072);
    end if;

    is_written := found;
    if is_written then
      taken := perch.take_number(space, now);
      if taken is not null then
        insert into perch.sync_changes
          (space_id, seq, app_id, table_name, record_id, op, data, at, user_id, client_id, op_id, created_at)
        values (space, taken, push_single.app_id, given."table", given.id, given.op, given.data, moment, author,
                push_single.client_id, given.op_id, now);
        return jsonb_build_object('results', array[
          jsonb_build_object('op_id', given.op_id, 'status', 'applied', 'space_id', space, 'seq', taken)]);
      end if;
      -- As perch.capture_changes, where the counter is there, and is not held by this transaction. No record that was
      -- written here was ever deleted.
      select coalesce(l.txid = pg_current_xact_id(), false) into is_own
        from perch.space_heads h left join perch.sync_changes l on l.space_id = h.space_id and l.seq = h.seq
       where h.space_id = space;
      if not is_own then
        insert into perch.captured_changes
          (ordinal, nth, txid, space_id, app_id, table_name, record_id, op, new_row, user_id, client_id, op_id,
           captured_at, at, schema_version)
        values (nextval('perch.capture_ordinal'), 1, pg_current_xact_id(), space, push_single.app_id, given."table",
                given.id, given.op, given.data, author, push_single.client_id, given.op_id, now, moment, 1);
        if given.op_id is not null then
          update perch.push_receipts r
             set result = jsonb_build_object('space_id', space, 'seq', null, 'txid', pg_current_xact_id()::text)
           where r.space_id = personal and r.op_id = given.op_id;
        end if;
        perform perch.notify_unnumbered(array[space]);
        return jsonb_build_object('results', array[perch.applied(given.op_id, space, null)]);
      end if;
    end if;

    if given.at is null then
      moment := null;
    end if;
    written := array[row(1, space, given."table", given.id, given.op, given.data, null, coalesce(moment, now),
      given.at is null, moment, moment, given.op_id, null, 1, null, null, null, null, false)::perch.change];
    if not is_written then
      select w.changes, w.were_merged into written, were_merged
        from perch.write_changes(written, push_single.app_id, push_single.client_id, author, now) w;
    end if;
    return jsonb_build_object('results', array[perch.applied(given.op_id, space,
      (perch.log_written(written, push_single.app_id, push_single.client_id, author, now, were_merged))[1])]);
  -- The op_id or the record is there already, or a rule of the app's on perch's tables refused it: perch.push_many says
  -- so.
  exception when others then
    get stacked diagnostics code = returned_sqlstate;
    if not perch.is_refusal(code) then
      raise;
    end if;
    return null;
  end;
end
$$;

comment on function perch.push_single(text, jsonb, text, timestamptz) is
  'Private. What perch.push does with one ordinary change of a plain record; null, with nothing written, of all else.';
