-- An append and its projection in one: perch.append_updates and perch.project_document for a writer who holds the row of the
-- document (perch.open_in_transaction) and has decoded the update. Six statements, where those two take some twenty between them.
--
-- Only who may decode documents may write to their tails, so this goes on as perch_worker: the caller's login has to be a member of
-- it. On an error the role goes back with everything else.
--
-- Lock order: the document (held already), its record, and last the counter of the space (docs/architecture.md, "The order of locks").
create or replace function perch.write_document(
  app_id text, table_name text, record_id text, space_id text, after_seq bigint, update bytea, ends jsonb, client_id text,
  data jsonb, size bigint, is_whole boolean, after_revision bigint default null, revision bigint default null
)
returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
declare
  author constant text := perch.current_user_id();
  may_write constant boolean := write_document.space_id = any (perch.writable_space_ids());
  given bigint;
  role_before constant text := current_setting('role');
  is_new boolean;
  short jsonb;
  short_before jsonb;
  long jsonb;
  bytes integer;
  longs_before text[];
  longs text[];
  moves boolean;
  -- Each time the tail has grown by so much a worker is asked to look at it: it folds what is too long.
  fold_every constant bigint := 1000;
  fold_bytes constant bigint := 262144;
  is_long boolean;
  placed bigint;
  maker text;
  changed text[];
  moment timestamptz;
  logged bigint;
  ignored text;
begin
  ignored := set_config('role', 'perch_worker', true);
  given := coalesce(write_document.revision, perch.new_revision());
  if may_write is not true then
    perform perch.fail('PE403', 'this user may not write this space', jsonb_build_object('space_id', write_document.space_id));
  end if;
  if octet_length(write_document.update) > perch.setting('max_update_bytes', 16777216) then
    perform perch.fail('PE413', 'the update is over the limit', jsonb_build_object('limit', 'max_update_bytes',
      'max', perch.setting('max_update_bytes', 16777216), 'got', octet_length(write_document.update)));
  end if;

  select r.deleted, r.data, r.long_fields, r.size into is_new, short_before, longs_before, bytes from perch.stored_records r
   where r.space_id = write_document.space_id and r.app_id = write_document.app_id
     and r.table_name = write_document.table_name and r.record_id = write_document.record_id
     for no key update;
  is_new := coalesce(is_new, true);
  update perch.documents d
     set head_seq = d.head_seq + 1, merged_seq = d.head_seq + 1, projected_seq = d.head_seq + 1, revision = given,
         tail_count = d.tail_count + 1, tail_bytes = d.tail_bytes + octet_length(write_document.update), projection_bytes = write_document.size
   where d.space_id = write_document.space_id and d.app_id = write_document.app_id
     and d.table_name = write_document.table_name and d.record_id = write_document.record_id
     and d.merged_seq = after_seq and d.incarnation_seq <= after_seq and d.revision = coalesce(after_revision, d.revision)
     and (is_whole or d.projected_seq = d.merged_seq and not is_new)
  returning d.head_seq, d.created_by, d.tail_count % fold_every = 0 or d.tail_bytes / fold_bytes > (d.tail_bytes - octet_length(write_document.update)) / fold_bytes
       into placed, maker, is_long;
  if placed is null and is_whole then
    -- New, or again after a deletion; somebody else may be making it at the same time, then this waits for their commit.
    insert into perch.documents as d
      (space_id, app_id, table_name, record_id, head_seq, merged_seq, projected_seq, snapshot_seq, tail_from, incarnation_seq,
       tail_count, tail_bytes, projection_bytes, created_by, revision)
    select write_document.space_id, write_document.app_id, write_document.table_name, write_document.record_id,
           after_seq + 1, after_seq + 1, after_seq + 1, after_seq, after_seq, after_seq,
           1, octet_length(write_document.update), write_document.size, author, given
     where coalesce(after_revision, 0) = 0 and after_seq = coalesce((
       select t.seq from perch.document_tombstones t
        where t.space_id = write_document.space_id and t.app_id = write_document.app_id
          and t.table_name = write_document.table_name and t.record_id = write_document.record_id), 0)
    on conflict on constraint documents_pkey do nothing
    returning d.head_seq, d.created_by into placed, maker;
  end if;
  if placed is null then
    ignored := set_config('role', role_before, true);
    return null;
  end if;
  insert into perch.document_updates (space_id, app_id, table_name, record_id, seq, payload, ends, user_id, client_id, revision)
  values (write_document.space_id, write_document.app_id, write_document.table_name, write_document.record_id,
          placed, write_document.update, write_document.ends, author, write_document.client_id, given);

  -- Of the record's fields each is either in data (short) or in long_data (long, named in long_fields). The long ones are read, and
  -- written, only where one of them may have changed.
  if write_document.data ?| longs_before or longs_before is not null and perch.is_long(write_document.data) then
    select r.long_data into long from perch.stored_records r
     where r.space_id = write_document.space_id and r.app_id = write_document.app_id
       and r.table_name = write_document.table_name and r.record_id = write_document.record_id;
  end if;
  -- In memory once: each look at a value that is stored compressed would unpack it again.
  short_before := short_before || '{}';
  long := long || '{}';
  select array_agg(n.key order by n.key) filter (where is_new or n.value is distinct from coalesce(short_before -> n.key, long -> n.key)),
         array_agg(n.key order by n.key) filter (where perch.is_long(n.value))
    into changed, longs
    from jsonb_each(write_document.data) n;
  if not is_whole and longs_before is not null then
    longs := case when longs is null and not write_document.data ?| longs_before then longs_before else nullif(array(
      select f from unnest(longs_before) f where not write_document.data ? f union all select unnest(longs) order by 1), '{}') end;
  end if;
  if changed is not null then
    -- Where the names are the same and none of these has changed, long_data stays as it is. What leaves it is short now, and given.
    moves := is_new or longs is distinct from longs_before or coalesce(longs && changed, false);
    short := case when is_whole then write_document.data else short_before || write_document.data end - coalesce(longs, '{}');
    if moves then
      long := (select jsonb_object_agg(f, coalesce(write_document.data -> f, long -> f)) from unnest(longs) f);
    elsif bytes is null and longs is not null and long is null then
      -- A record with long fields that is short as a whole: to be measured, it is read.
      select r.long_data into long from perch.stored_records r
       where r.space_id = write_document.space_id and r.app_id = write_document.app_id
         and r.table_name = write_document.table_name and r.record_id = write_document.record_id;
    end if;
    -- What stays as it is need not be written out to be measured.
    bytes := case when moves or bytes is null then perch.record_size(short, long, null, null)
                  else nullif(greatest(bytes - octet_length(short_before::text) + octet_length(short::text), 4000), 4000) end;
    moment := clock_timestamp();
    logged := perch.next_seq(write_document.space_id, moment);
    insert into perch.sync_changes (space_id, seq, app_id, table_name, record_id, op, changed_fields, at, user_id, client_id, origin, created_at)
    values (write_document.space_id, logged, write_document.app_id, write_document.table_name, write_document.record_id,
            case when is_new then 'insert' else 'update' end, changed, moment, author, write_document.client_id, 'document', moment);
    if is_new then
      insert into perch.stored_records as r
        (space_id, app_id, table_name, record_id, data, long_data, long_fields, latest_at, inserted_at, seq, user_id, size)
      values (write_document.space_id, write_document.app_id, write_document.table_name, write_document.record_id,
              short, long, longs, clock_timestamp(), clock_timestamp(), logged, maker, bytes)
      on conflict on constraint stored_records_pkey do update
        set data = excluded.data, long_data = excluded.long_data, long_fields = excluded.long_fields,
            size = excluded.size, latest_at = excluded.latest_at, seq = excluded.seq, updated_at = clock_timestamp(),
            inserted_at = excluded.inserted_at, user_id = excluded.user_id, deleted = false;
    else
      update perch.stored_records r
         set data = short, long_data = case when moves then long else r.long_data end, long_fields = longs,
             size = bytes, latest_at = clock_timestamp(), seq = logged, updated_at = clock_timestamp()
       where r.space_id = write_document.space_id and r.app_id = write_document.app_id
         and r.table_name = write_document.table_name and r.record_id = write_document.record_id;
    end if;
  end if;
  if is_whole then
    -- There is one if the record was behind, which it then is no more.
    delete from perch.document_queue q
     where q.space_id = write_document.space_id and q.app_id = write_document.app_id
       and q.table_name = write_document.table_name and q.record_id = write_document.record_id;
  end if;
  if is_long then
    perform perch.enqueue_document(write_document.space_id, write_document.app_id, write_document.table_name, write_document.record_id);
  end if;
  ignored := set_config('role', role_before, true);
  return placed;
end
$$;

comment on function perch.write_document(text, text, text, text, bigint, bytea, jsonb, text, jsonb, bigint, boolean, bigint, bigint) is
  'For DocumentStore, whose login is a member of perch_worker as well: appends a decoded update of the current user to a document that is at after_seq, and writes what it leads to into the record and the log: data, all fields (is_whole) or those the update changed; size: the bytes of the whole as JSON text. ends: as in perch.document_updates. after_revision: what identifies after_seq (null: only the number is compared); revision: what is to identify the new position (default: drawn here). Returns the update''s position; null, with nothing done, when the document is not at after_seq, or not all fields were given and the record is behind. Errors: PE403, PE413, 42501 when the login is no member of perch_worker.';
