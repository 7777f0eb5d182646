-- Why pulling from the cursor misses nothing. The position is read with the first page and carried on in next, so every page
-- is read at that position or later. A change after the position is pulled, and folding it again into a record that shows it
-- already changes nothing (perch.merge_changes takes maxima). A change up to the position was committed before
-- any page was read, so the page on which its record lies shows it; a record that is deleted or made meanwhile is in
-- the log behind the position. That the log is still the one of the first page is seen by the entry at the position (perch.entry_mark).
--
-- The cursor of a client that reads several spaces is passed in, so that the others keep their positions in the one that comes out.
--
-- How long a page is: as in perch.pull_page.
--
-- Behind the records come the rows of synced tables (perch.synced_page), in the order of their keys; next says so (its last element). For
-- them the same holds: what is logged up to the position was committed before, so every page shows it; what is logged behind it is
-- pulled, and has the values that columns were given, so it can be applied to a row that shows it, or something later, already. Of what
-- changed in between, the last entry has what the row has: the log has the changes of a row in the order of their commits.
create or replace function perch.snapshot_text(
  app_id text, space_id text default null, after text default null, page_size integer default 1000, cursor jsonb default null,
  tables text[] default null, schema_versions jsonb default null
)
returns text
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  space constant text := perch.require_space(snapshot_text.space_id, to_write => false);
  max_count integer := perch.check_page_size(snapshot_text.page_size);
  max_bytes constant bigint := perch.setting('max_page_bytes', 16777216);
  given jsonb := perch.read_cursor(snapshot_text.cursor, snapshot_text.app_id, snapshot_text.tables);
  versions jsonb;
  epoch constant text := (select e.epoch from perch.log_epoch e);
  head bigint;
  oldest bigint;
  before_oldest text;
  mark text;
  token jsonb;
  shown_seq bigint;
  reason text;
  page text;
  count bigint;
  fetched bigint;
  too_large bigint;
  failed bigint;
  last_key text[];
  rows record;
begin
  perform perch.check_id(snapshot_text.app_id, 'app_id', 64);
  versions := perch.check_versions(snapshot_text.app_id, snapshot_text.schema_versions);
  if snapshot_text.after is not null then
    begin
      token := convert_from(decode(snapshot_text.after, 'base64'), 'UTF8')::jsonb;
      shown_seq := (token ->> 3)::bigint;
    exception when data_exception then
      token := null;
    end;
    if token -> 0 is distinct from '2' or token ->> 2 is distinct from space or shown_seq is null or jsonb_array_length(token) not in (7, 8) then
      perform perch.fail('PE422', 'after is not what a page of this space gave as next', jsonb_build_object('argument', 'after'));
    end if;
  end if;

  select h.seq, h.oldest_seq, h.before_oldest, h.mark into head, oldest, before_oldest, mark from perch.space_heads h where h.space_id = space;
  shown_seq := coalesce(shown_seq, head, 0);
  if shown_seq <> head or mark is null then
    select perch.entry_mark(l.created_at) into mark from perch.sync_changes l where l.space_id = space and l.seq = shown_seq;
  end if;
  if shown_seq < oldest then
    -- Of what was forgotten while the pages were taken, pulling will tell.
    mark := case when shown_seq = oldest - 1 then before_oldest else token ->> 4 end;
  end if;
  if token is null then
    token := jsonb_build_array(2, epoch, space, shown_seq, mark, '', '');
  else
    reason := case when token ->> 1 <> epoch or token ->> 4 is distinct from mark then 'epoch' when shown_seq > coalesce(head, 0) then 'ahead' end;
    if reason is not null then
      perform perch.fail('PE410', 'the log was restored meanwhile', jsonb_build_object('spaces', jsonb_build_array(jsonb_build_object(
        'space_id', space, 'reason', reason, 'oldest_seq', coalesce(oldest, 1), 'latest_seq', coalesce(head, 0)))), 'Begin again, with after null.');
    end if;
  end if;
  -- Of another epoch nothing can be kept.
  if given ->> 'epoch' <> epoch then
    given := null;
  end if;

  loop
    begin
      -- All records have been given.
      if jsonb_array_length(token) = 8 then
        page := '[]';
        count := 0;
        fetched := 0;
        exit;
      end if;
      with found as materialized (
        select r.table_name, r.record_id, r.data, r.long_data, r.field_meta, r.seq, r.inserted_at, r.deleted_at, r.written_at, r.written_by, r.schema_version,
               coalesce(r.size, 0) as bytes, coalesce(r.size > max_bytes, false) as is_huge
          from perch.stored_records r
         where r.space_id = space and r.app_id = snapshot_text.app_id and not r.deleted
           and (r.table_name, r.record_id) > (token ->> 5, token ->> 6)
           and (snapshot_text.tables is null or r.table_name = any (snapshot_text.tables))
         order by r.table_name, r.record_id
         limit max_count
      ),
      likely as (
        select f.*, sum(case when not f.is_huge then f.bytes end) over (order by f.table_name, f.record_id) as upto, row_number() over (order by f.table_name, f.record_id) as n from found f
      ),
      records as materialized (
        select w.*, sum(octet_length(w.record) + 2) over (order by w.n) as text_upto
          from (
            select k.n, k.table_name, k.record_id, y.reason,
                   case when y.reason is null then t.record else
                     perch.withheld(t.record, y.reason, greatest(k.bytes, octet_length(t.record)), max_bytes) end as record
              from likely k
              -- Each of these is a step of its own (offset 0): taken into its uses, it would be worked out for each of them.
              cross join lateral (select case when not k.is_huge then coalesce(k.data || k.long_data, k.data) end offset 0) w (data)
              cross join lateral (
                select coalesce(jsonb_object_agg(n, coalesce(k.field_meta ->> n, perch.stamp(k.written_at, k.written_by))), '{}')
                  from jsonb_object_keys(w.data) n where k.written_at is not null offset 0) m (stamps)
              cross join lateral (
                select case when not k.is_huge and k.schema_version < (versions ->> k.table_name)::integer then
                  perch.try_upgrade(jsonb_build_object('op', 'insert', 'table', k.table_name, 'id', k.record_id, 'data', w.data, 'field_meta', m.stamps),
                    snapshot_text.app_id, k.table_name, k.schema_version, (versions ->> k.table_name)::integer) end
                offset 0
              ) v (lifted)
              cross join lateral (select coalesce(v.lifted ? 'failed', false), coalesce(v.lifted ? 'failed', false) or k.is_huge) x (failed, bare)
              cross join lateral (
                select row_to_json(e)::text
                  from (
                    select k.table_name as "table", k.record_id as id, case when not x.bare then coalesce(v.lifted -> 'data', w.data) end as data,
                           case when x.bare then '{}' when v.lifted is null then m.stamps else (
                             select coalesce(jsonb_object_agg(n, coalesce(v.lifted -> 'field_meta' ->> n, perch.stamp(k.written_at, k.written_by))), '{}')
                               from jsonb_object_keys(v.lifted -> 'data') n) end as field_meta,
                           k.seq, perch.time_text(k.inserted_at) as inserted_at, perch.time_text(k.deleted_at) as deleted_at,
                           case when v.lifted is not null and not x.failed then (versions ->> k.table_name)::integer else k.schema_version end as schema_version) e
                offset 0
              ) t (record)
              cross join lateral (
                select case when x.failed then 'upgrade_failed' when k.is_huge or octet_length(t.record) > max_bytes then 'too_large' end) y (reason)
             where coalesce(k.upto, 0) <= max_bytes or k.n = 1) w
      ),
      kept as (
        select r.* from records r where r.text_upto <= max_bytes or r.n = 1
      )
      select concat('[', string_agg(k.record, ', ' order by k.n), ']'), count(*), (select count(*) from found),
             (array_agg(array[k.table_name, k.record_id] order by k.n desc))[1:1],
             count(*) filter (where k.reason = 'too_large'), count(*) filter (where k.reason = 'upgrade_failed')
        into page, count, fetched, last_key, too_large, failed
        from kept k;
      exit;
    exception when program_limit_exceeded then
      -- More text than fits into one value. (Of one record that cannot be: it is known beforehand to be huge.)
      if max_count = 1 then
        raise;
      end if;
      max_count := greatest(1, max_count / 4);
    end;
  end loop;

  select null::text as page, 0::bigint as count, 0::bigint as too_large, null::text as last_table, null::text as last_id into rows;
  if count < max_count and count >= fetched then
    select * into rows
      from perch.synced_page(snapshot_text.app_id, space, snapshot_text.tables, case when jsonb_array_length(token) = 8 then token ->> 5 end,
        case when jsonb_array_length(token) = 8 then token ->> 6 end, max_count - count::integer, max_bytes - octet_length(page), max_bytes, shown_seq);
    page := concat(left(page, -1), case when count > 0 and rows.count > 0 then ', ' end, rows.page, ']');
    too_large := coalesce(too_large, 0) + rows.too_large;
    failed := coalesce(failed, 0);
  end if;

  return concat(
    '{"records":', page,
    ',"cursor":', jsonb_strip_nulls(jsonb_build_object('v', 2, 'app', snapshot_text.app_id, 'tables', perch.tables_digest(snapshot_text.tables), 'epoch', epoch))
      || jsonb_build_object(
           'spaces', coalesce(given -> 'spaces', '{}') || jsonb_build_object(space, jsonb_build_array(shown_seq, token -> 4)),
           'behind', coalesce((given -> 'behind') - space, '[]') || to_jsonb(space)),
    ',"next":', coalesce(to_json(translate(encode(convert_to((
        case when count = max_count or count < fetched then jsonb_build_array(2, epoch, space, shown_seq, token -> 4, last_key[1][1], last_key[1][2])
             when rows.last_table is not null then jsonb_build_array(2, epoch, space, shown_seq, token -> 4, rows.last_table, rows.last_id, 1) end
        )::text, 'UTF8'), 'base64'), E'\n', '')), 'null'),
    case when too_large + failed > 0 then concat(',"withheld":', json_build_object('too_large', too_large, 'upgrade_failed', failed)) end,
    '}');
end
$$;

comment on function perch.snapshot_text(text, text, text, integer, jsonb, text[], jsonb) is
  'What perch.snapshot_records returns, as JSON text in one line, for programs that parse it themselves or pass it on. Arguments and errors: as perch.snapshot_records. Example: select perch.snapshot_text(app_id => ''todo'', space_id => ''team'');';
