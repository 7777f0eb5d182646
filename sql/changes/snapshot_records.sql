-- Why pulling from the cursor misses nothing. The position is read with the first page and carried on in next, so every page
-- is read at that position or later. A change after the position is pulled, and folding it again into a record that shows it
-- already changes nothing (perch.merge_changes takes maxima). A change up to the position was committed before
-- any page was read, so the page on which its record lies shows it; a record that is deleted or made meanwhile is in
-- the log behind the position.
create or replace function perch.snapshot_records(
  app_id text, space_id text default null, after text default null, page_size integer default 1000, cursor jsonb default null
)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  space constant text := perch.require_space(snapshot_records.space_id, to_write => false);
  size constant integer := perch.check_page_size(snapshot_records.page_size);
  epoch constant text := (select e.epoch from perch.log_epoch e);
  token jsonb;
  position bigint;
  page jsonb;
  last_key jsonb;
  fetched bigint;
begin
  perform perch.check_id(snapshot_records.app_id, 'app_id', 64);
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

  with live as (
    select r.table_name, r.record_id, r.data, r.field_meta, r.seq, r.inserted_at, r.deleted_at, r.written_at, r.written_by, r.schema_version
      from perch.stored_records r
     where r.space_id = space and r.app_id = snapshot_records.app_id and not r.deleted
       and (r.table_name, r.record_id) > (token ->> 4, token ->> 5)
     order by r.table_name, r.record_id
     limit size
  )
  select coalesce(jsonb_agg(jsonb_build_object(
           'table', l.table_name, 'id', l.record_id, 'data', l.data,
           'field_meta', coalesce((select jsonb_object_agg(k, coalesce(l.field_meta ->> k, perch.stamp(l.written_at, l.written_by)))
                           from jsonb_object_keys(l.data) k where l.written_at is not null), '{}'),
           'seq', l.seq, 'inserted_at', perch.stamp(l.inserted_at), 'deleted_at', perch.stamp(l.deleted_at),
           'schema_version', l.schema_version)
           order by l.table_name, l.record_id), '[]'),
         count(*)
    into page, fetched
    from live l;
  last_key := page -> -1;

  return jsonb_build_object(
    'records', page,
    'cursor', jsonb_build_object('v', 1, 'app', snapshot_records.app_id, 'epoch', epoch,
       'spaces', jsonb_build_object(space, position), 'behind', jsonb_build_array(space)),
    'next', case when fetched = size then translate(encode(convert_to(
        jsonb_build_array(1, epoch, space, position, last_key -> 'table', last_key -> 'id')::text, 'UTF8'), 'base64'), E'\n', '') end);
end
$$;

comment on function perch.snapshot_records(text, text, text, integer, jsonb) is
  'The live records of a space, a page at a time, and a cursor from which pulling misses nothing: pass next as after until it is null.';
