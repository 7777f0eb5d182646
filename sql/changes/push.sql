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
  content text;
  op text;
  space text;
  read perch.change;
  taken bigint;
  written boolean;
begin
  if jsonb_typeof(changes) is distinct from 'array' or jsonb_array_length(changes) <> 1
     or octet_length(app_id) - 1 not between 0 and 63 or octet_length(client_id) - 1 not between 0 and 255
     or coalesce(author, '') = '' or pg_column_size(change) > 4000
     or jsonb_typeof(change) <> 'object' or change ?| '{field_meta,schema_version,base_seq,actor,origin}'
     or change - '{op,table,id,data,at,op_id,space_id}'::text[] <> '{}'
  then
    return perch.push_many(app_id, changes, client_id, now);
  end if;
  content := change::text;
  op := change ->> 'op';
  space := coalesce(change ->> 'space_id', '~' || author);
  read.table_name := change ->> 'table';
  read.record_id := change ->> 'id';
  read.data := change -> 'data';
  read.op_id := change ->> 'op_id';
  if (op in ('insert', 'update') and jsonb_typeof(read.data) = 'object') is not true
     or (jsonb_typeof(change -> 'table') = 'string' and jsonb_typeof(change -> 'id') = 'string'
         and octet_length(read.table_name) between 1 and 128 and octet_length(read.record_id) between 1 and 256
         and octet_length(content) <= 2000
         and app_id || client_id || read.table_name || read.record_id || coalesce(read.op_id, '') !~ '[\x01-\x1f\x7f]') is not true
     or change ? 'op_id' and (jsonb_typeof(change -> 'op_id') = 'string' and octet_length(read.op_id) between 1 and 256) is not true
     or change ? 'space_id' and (jsonb_typeof(change -> 'space_id') = 'string' and space = any (perch.writable_space_ids())) is not true
     or pg_column_size(change) > 800 and jsonb_path_exists(change, '$.**{100}')
  then
    return perch.push_many(app_id, changes, client_id, now);
  end if;
  if change ? 'at' then
    if (change ->> 'at' like '____-__-__T__:__:__%Z') is not true then
      return perch.push_many(app_id, changes, client_id, now);
    end if;
    begin
      read.at := least((change ->> 'at')::timestamptz, now + perch.clock_tolerance());
    exception when data_exception then
      return perch.push_many(app_id, changes, client_id, now);
    end;
  else
    read.at := now;
  end if;

  -- Claims the op_id, of an ordinary table; a repetition finds it claimed.
  if read.op_id is not null then
    insert into perch.push_receipts (space_id, op_id, digest, created_at)
    select '~' || author, read.op_id, sha256(convert_to(app_id || E'\n' || space || E'\n' || content, 'UTF8')), now
     where not exists (select from perch.document_tables t where t.app_id = push.app_id and t.table_name = read.table_name)
       and not exists (select from perch.schema_versions v where v.app_id = push.app_id and v.table_name = read.table_name and v.current_version <> 1)
    on conflict on constraint push_receipts_pkey do nothing;
    if not found then
      return perch.push_many(app_id, changes, client_id, now);
    end if;
    update perch.space_heads h set seq = h.seq + 1 where h.space_id = space returning h.seq into taken;
    if taken is null then
      taken := perch.next_seq(space);
    end if;
  else
    update perch.space_heads h set seq = h.seq + 1
     where h.space_id = space
       and not exists (select from perch.document_tables t where t.app_id = push.app_id and t.table_name = read.table_name)
       and not exists (select from perch.schema_versions v where v.app_id = push.app_id and v.table_name = read.table_name and v.current_version <> 1)
    returning h.seq into taken;
    if taken is null then
      return perch.push_many(app_id, changes, client_id, now);
    end if;
  end if;

  if op = 'insert' then
    insert into perch.stored_records
      (space_id, app_id, table_name, record_id, data, written_at, written_by, latest_at, inserted_at, seq, user_id, created_at, updated_at)
    values (space, push.app_id, read.table_name, read.record_id, read.data, read.at, push.client_id, read.at, read.at, taken, author, now, now)
    on conflict on constraint stored_records_pkey do nothing;
    written := found;
  else
    -- Newer than everything the record has seen: it wins without looking further.
    update perch.stored_records r
       set data = r.data || read.data, latest_at = read.at, seq = taken, updated_at = now,
           field_meta = r.field_meta || (select coalesce(jsonb_object_agg(k, perch.stamp(read.at, push.client_id)), '{}') from jsonb_object_keys(read.data) k)
     where r.space_id = space and r.app_id = push.app_id and r.table_name = read.table_name and r.record_id = read.record_id
       and r.latest_at < read.at and r.deleted_at is null and r.schema_version = 1;
    written := found;
  end if;

  if written then
    insert into perch.sync_changes
      (space_id, seq, app_id, table_name, record_id, op, data, at, user_id, client_id, op_id, created_at)
    values (space, taken, push.app_id, read.table_name, read.record_id, op, read.data, read.at, author, push.client_id, read.op_id, now);
  else
    read.position := 1;
    read.space_id := space;
    read.op := op;
    read.timeless := not change ? 'at';
    if not read.timeless then
      read.earliest := read.at;
      read.latest := read.at;
    end if;
    read.schema_version := 1;
    perform perch.write_changes(array[read], array[taken], push.app_id, push.client_id, author, now);
  end if;
  return jsonb_build_object('results', jsonb_build_array(
    jsonb_build_object('op_id', read.op_id, 'status', 'applied', 'space_id', space, 'seq', taken)));
end
$$;
