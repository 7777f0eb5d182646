-- Why pulling from the cursor misses nothing. The position is read with the first page and carried on in next, so every page
-- is read at that position or later. A change after the position is pulled, and folding it again into a record that shows it
-- already changes nothing (perch.merge_changes takes maxima). A change up to the position was committed before
-- any page was read, so the page on which its record lies shows it; a record that is deleted or made meanwhile is in
-- the log behind the position.
--
-- The cursor of a client that reads several spaces is passed in, so that the others keep their positions in the one that comes out.
create or replace function perch.snapshot_records(
  app_id text, space_id text default null, after text default null, page_size integer default 1000, cursor jsonb default null,
  tables text[] default null, schema_versions jsonb default null
)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  space constant text := perch.require_space(snapshot_records.space_id, to_write => false);
  max_count integer := perch.check_page_size(snapshot_records.page_size);
  max_bytes constant bigint := perch.setting('max_page_bytes', 16777216);
  given constant jsonb := perch.read_cursor(snapshot_records.cursor, snapshot_records.app_id, snapshot_records.tables);
  versions jsonb;
  epoch constant text := (select e.epoch from perch.log_epoch e);
  token jsonb;
  position bigint;
  page jsonb;
  last_key jsonb;
  fetched bigint;
begin
  perform perch.check_id(snapshot_records.app_id, 'app_id', 64);
  versions := perch.check_versions(snapshot_records.app_id, snapshot_records.schema_versions);
  if snapshot_records.after is null then
    position := coalesce((select h.seq from perch.space_heads h where h.space_id = space), 0);
    token := jsonb_build_array(1, epoch, space, position, '', '');
  else
    begin
      token := convert_from(decode(snapshot_records.after, 'base64'), 'UTF8')::jsonb;
      position := (token ->> 3)::bigint;
    exception when data_exception then
      token := null;
    end;
    if token -> 0 is distinct from '1' or token ->> 2 is distinct from space or position is null or jsonb_array_length(token) <> 6 then
      perform perch.fail('PE422', 'after is not what a page of this space gave as next', jsonb_build_object('argument', 'after'));
    end if;
    if token ->> 1 <> epoch then
      perform perch.fail('PE410', 'the log was restored meanwhile', jsonb_build_object('spaces', jsonb_build_array(jsonb_build_object(
        'space_id', space, 'reason', 'epoch', 'oldest_seq', coalesce((select h.oldest_seq from perch.space_heads h where h.space_id = space), 1),
        'latest_seq', coalesce((select h.seq from perch.space_heads h where h.space_id = space), 0)))),
        'Begin again, with after null.');
    end if;
  end if;

  loop
    begin
      with found as materialized (
        select r.table_name, r.record_id, r.data, r.long_data, r.field_meta, r.seq, r.inserted_at, r.deleted_at, r.written_at, r.written_by, r.schema_version
          from perch.stored_records r
         where r.space_id = space and r.app_id = snapshot_records.app_id and not r.deleted
           and (r.table_name, r.record_id) > (token ->> 4, token ->> 5)
           and (snapshot_records.tables is null or r.table_name = any (snapshot_records.tables))
         order by r.table_name, r.record_id
         limit max_count
      ),
      -- A page ends early when it would be too long; one record it always has.
      cut as (
        select count(*) as kept
          from (select sum(3 * (pg_column_size(f.data) + coalesce(pg_column_size(f.long_data), 0))) over (order by f.table_name, f.record_id) as bytes,
                       row_number() over (order by f.table_name, f.record_id) as n from found f) w
         where w.bytes <= max_bytes or w.n = 1
        having (select sum(3 * (pg_column_size(f.data) + coalesce(pg_column_size(f.long_data), 0))) from found f) > max_bytes
      ),
      kept as (
        select f.* from found f order by f.table_name, f.record_id limit (select c.kept from cut c)
      )
      select coalesce(jsonb_agg(e), '[]'), (select count(*) from found) into page, fetched
        from (
          select k.table_name as "table", k.record_id as id, coalesce(v.lifted -> 'data', w.data) as data, case when v.lifted is null then m.stamps else (
                   select coalesce(jsonb_object_agg(n, coalesce(v.lifted -> 'field_meta' ->> n, perch.stamp(k.written_at, k.written_by))), '{}')
                     from jsonb_object_keys(v.lifted -> 'data') n) end as field_meta,
                 k.seq, perch.time_text(k.inserted_at) as inserted_at, perch.time_text(k.deleted_at) as deleted_at,
                 case when v.lifted is not null then (versions ->> k.table_name)::integer else k.schema_version end as schema_version
            from kept k
            cross join lateral (select coalesce(k.data || k.long_data, k.data)) w (data)
            cross join lateral (
              select coalesce(jsonb_object_agg(n, coalesce(k.field_meta ->> n, perch.stamp(k.written_at, k.written_by))), '{}')
                from jsonb_object_keys(w.data) n where k.written_at is not null) m (stamps)
            cross join lateral (
              select case when k.schema_version < (versions ->> k.table_name)::integer then
                perch.lift_change(jsonb_build_object('op', 'insert', 'table', k.table_name, 'id', k.record_id, 'data', w.data, 'field_meta', m.stamps),
                  snapshot_records.app_id, k.table_name, k.schema_version, (versions ->> k.table_name)::integer) end
            ) v (lifted)
        ) e;
      exit;
    exception when program_limit_exceeded then
      -- More JSON than fits into one value.
      if max_count = 1 then
        raise;
      end if;
      max_count := greatest(1, max_count / 4);
    end;
  end loop;
  last_key := page -> -1;

  -- Of another epoch nothing can be kept.
  return jsonb_build_object(
    'records', page,
    'cursor', jsonb_strip_nulls(jsonb_build_object('v', 1, 'app', snapshot_records.app_id, 'tables', perch.tables_digest(snapshot_records.tables), 'epoch', epoch))
      || jsonb_build_object(
           'spaces', case when given ->> 'epoch' = epoch then given -> 'spaces' else '{}' end || jsonb_build_object(space, position),
           'behind', case when given ->> 'epoch' = epoch then (given -> 'behind') - space else '[]' end || to_jsonb(space)),
    'next', case when jsonb_array_length(page) = max_count or jsonb_array_length(page) < fetched then translate(encode(convert_to(
        jsonb_build_array(1, epoch, space, position, last_key -> 'table', last_key -> 'id')::text, 'UTF8'), 'base64'), E'\n', '') end);
end
$$;

comment on function perch.snapshot_records(text, text, text, integer, jsonb, text[], jsonb) is
  'The live records of a space (null: the personal one), a page at a time, and a cursor from which pulling misses nothing: pass next as after until it is null, and everything else unchanged. Returns {"records": [{"table", "id", "data", "field_meta", "seq", "inserted_at", "deleted_at", "schema_version"}], "cursor", "next"}. field_meta has the stamp of each field, the time and, after a space, the client that wrote it (2026-01-01T10:00:00.000000Z client); stamps compare byte by byte, the greater wins, so a client goes on folding with them what it pulls. cursor: that of a client that reads several spaces; the one returned has its positions, but for this space, that of the snapshot. tables and schema_versions: as for perch.pull, which must get the same tables. Errors: PE401, PE403, PE410 when the log was restored between two pages, PE413, PE422. Example: select perch.snapshot_records(app_id => ''todo'', space_id => ''team'');';
