-- Locks, in the order of every writer: receipts (by op_id), documents (by key), the counters of the spaces (by id). Behind a
-- counter nothing waits any more: the records of a space are written only by whoever holds its counter. (Were records locked
-- before it, two transactions that push twice to one space would meet: one holds the counter and waits for a record, the other the
-- record and waits for the counter.) So the counter is the last that is taken, with all checking done before.
--
-- One change on its own is the common case, and most of what it costs is starting statements: so it has its own path of four small
-- ones here. It is left for perch.push_many, before anything is written, as soon as anything is out of the ordinary.
create or replace function perch.push(app_id text, changes jsonb, client_id text)
returns jsonb
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  author constant text := current_setting('app.current_user_id', true);
  now constant timestamptz := clock_timestamp();
  change constant jsonb := changes -> 0;
  op constant text := change ->> 'op';
  tab constant text := change ->> 'table';
  id constant text := change ->> 'id';
  op_id constant text := change ->> 'op_id';
  fields constant jsonb := change -> 'data';
  made constant text := change ->> 'at';
  space constant text := coalesce(change ->> 'space_id', '~' || author);
  content constant text := case when pg_column_size(change) <= 2000 then change::text end;
  moment timestamptz;
  taken bigint;
begin
  -- Null, where something is not as expected, counts as false.
  if (jsonb_typeof(changes) = 'array' and jsonb_array_length(changes) = 1 and jsonb_typeof(change) = 'object' and author <> ''
      and change - '{op,table,id,data,at,op_id,space_id}'::text[] = '{}' and op in ('insert', 'update')
      and jsonb_typeof(fields) = 'object' and jsonb_typeof(change -> 'table') = 'string' and jsonb_typeof(change -> 'id') = 'string'
      and octet_length(tab) <= 128 and octet_length(id) <= 256 and octet_length(app_id) <= 64 and tab <> '' and id <> '' and app_id <> ''
      and octet_length(content) <= 2000
      and (client_id is null or client_id <> '' and octet_length(client_id) <= 256)
      and (not change ? 'op_id' or jsonb_typeof(change -> 'op_id') = 'string' and op_id <> '' and octet_length(op_id) <= 256)
      and (not change ? 'at' or made like '____-__-__T__:__:__%Z')
      and (not change ? 'space_id' or jsonb_typeof(change -> 'space_id') = 'string' and space = any (perch.writable_space_ids()))
      and concat(app_id, client_id, tab, id, op_id) !~ '[\x01-\x1f\x7f]'
      and (pg_column_size(change) <= 800 or not jsonb_path_exists(change, '$.**{100}'))) is not true
  then
    return perch.push_many(app_id, changes, client_id, now);
  end if;
  moment := now;
  if made is not null then
    begin
      moment := least(made::timestamptz, now + perch.clock_tolerance());
    exception when data_exception then
      return perch.push_many(app_id, changes, client_id, now);
    end;
  end if;

  -- Claims the op_id, of an ordinary table; a repetition finds it claimed.
  if op_id is not null then
    insert into perch.push_receipts (space_id, op_id, digest, created_at)
    select '~' || author, op_id, sha256(convert_to(app_id || E'\n' || space || E'\n' || content, 'UTF8')), now
     where not exists (select from perch.document_tables t where t.app_id = push.app_id and t.table_name = tab)
       and not exists (select from perch.schema_versions v where v.app_id = push.app_id and v.table_name = tab and v.current_version <> 1)
    on conflict on constraint push_receipts_pkey do nothing;
    if not found then
      return perch.push_many(app_id, changes, client_id, now);
    end if;
    update perch.space_heads h set seq = h.seq + 1 where h.space_id = space returning h.seq into taken;
    if not found then
      taken := perch.next_seq(space);
    end if;
  else
    update perch.space_heads h set seq = h.seq + 1
     where h.space_id = space
       and not exists (select from perch.document_tables t where t.app_id = push.app_id and t.table_name = tab)
       and not exists (select from perch.schema_versions v where v.app_id = push.app_id and v.table_name = tab and v.current_version <> 1)
    returning h.seq into taken;
    if not found then
      return perch.push_many(app_id, changes, client_id, now);
    end if;
  end if;

  if op = 'insert' then
    insert into perch.stored_records
      (space_id, app_id, table_name, record_id, data, written_at, written_by, latest_at, inserted_at, seq, user_id, created_at, updated_at)
    values (space, push.app_id, tab, id, fields, moment, push.client_id, moment, moment, taken, author, now, now)
    on conflict on constraint stored_records_pkey do nothing;
  else
    -- Newer than everything the record has seen: it wins without looking further.
    update perch.stored_records r
       set data = r.data || fields, latest_at = moment, seq = taken, updated_at = now,
           field_meta = r.field_meta || (select coalesce(jsonb_object_agg(k, perch.stamp(moment, push.client_id)), '{}') from jsonb_object_keys(fields) k)
     where r.space_id = space and r.app_id = push.app_id and r.table_name = tab and r.record_id = id
       and r.latest_at < moment and r.deleted_at is null and r.schema_version = 1;
  end if;

  if found then
    insert into perch.sync_changes (space_id, seq, app_id, table_name, record_id, op, data, at, user_id, client_id, op_id, created_at)
    values (space, taken, push.app_id, tab, id, op, fields, moment, author, push.client_id, op_id, now);
  else
    perform perch.write_changes(
      array[row(1, space, tab, id, op, fields, null, moment, made is null, made_at.time, made_at.time, op_id, null, 1, null, null, null, null, false)::perch.change],
      array[taken], push.app_id, push.client_id, author, now)
       from (select case when made is not null then moment end) made_at (time);
  end if;
  return jsonb_build_object('results', jsonb_build_array(
    jsonb_build_object('op_id', op_id, 'status', 'applied', 'space_id', space, 'seq', taken)));
end
$$;

comment on function perch.push(text, jsonb, text) is
  'Writes changes of an app to the log and to the records, as the current user, in the caller''s transaction: changes is an array of {op, table, id, data, field_meta, at, op_id, space_id, schema_version, base_seq, actor, origin}, of which only op (insert, update, delete), table and id are required; client_id names the device. Returns {"results": [{op_id, status, space_id, seq, error}]}, one for each change, in order: applied; replayed, when the op_id was applied before; rejected, with the code and message of the error (PE403, PE404, PE409, PE413, PE422), which harms no other change. Errors that refuse the whole push: PE401 without a user, PE413 for too many changes, PE422 when changes is not an array or app_id or client_id is unusable. Example: select perch.push(app_id => ''todo'', changes => ''[{"op": "insert", "table": "tasks", "id": "t1", "data": {"title": "Buy milk"}}]'', client_id => ''phone'');';
