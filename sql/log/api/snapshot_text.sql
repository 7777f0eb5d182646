-- Why pulling from the cursor misses nothing. The position is read with the first page and carried on in next, so
-- every page is read at that position or later. A change after the position is pulled, and merging it again into a
-- record that shows it already changes nothing (perch.merge_changes takes maxima). A change up to the position was
-- committed before any page was read, so the page on which its record lies shows it; a record that is deleted or made
-- meanwhile is in the log behind the position. That the log is still the one of the first page is seen by the entry at
-- the position (perch.snapshot_position).
--
-- The cursor of a client that reads several spaces is passed in, so that the others keep their positions in the one
-- that comes out.
--
-- Behind the records come the rows of synced tables (perch.synced_page), in the order of their keys; next says so (its
-- last element). For them the same holds: what is logged up to the position was committed before, so every page shows
-- it; what is logged behind it is pulled, and has the values that columns were given, so it can be applied to a row
-- that shows it, or something later, already. Of what changed in between, the last entry has what the row has: the log
-- has the changes of a row in the order of their commits.
create or replace function perch.snapshot_text(
  app_id text, space_id text default null, after text default null, page_size integer default 1000,
  cursor jsonb default null, tables text[] default null, schema_versions jsonb default null, fields jsonb default null
)
returns text
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  space constant text := perch.require_space(snapshot_text.space_id, to_write => false);
  max_count constant integer := perch.check_page_size(snapshot_text.page_size);
  max_bytes constant bigint := perch.setting('max_page_bytes', 16777216);
  given jsonb := perch.read_cursor(snapshot_text.cursor, snapshot_text.app_id, snapshot_text.tables);
  epoch constant text := (select e.epoch from perch.log_epoch e);
  rules constant text := perch.rules_mark(snapshot_text.app_id, snapshot_text.tables);
  role constant text := case when rules is not null then (perch.roles_in(array[space]))[1] end;
  -- What all pages of a snapshot have in common.
  terms constant text := concat_ws(' ', epoch, rules, role);
  versions jsonb;
  wanted jsonb;
  place record;      -- behind which this page begins
  taken record;      -- the position at which the snapshot is taken
  records record;
  rows record;
  next_place jsonb;  -- behind which the next page begins
begin
  perform perch.check_id(snapshot_text.app_id, 'app_id', 64);
  versions := perch.check_versions(snapshot_text.app_id, snapshot_text.schema_versions);
  wanted := perch.check_fields(snapshot_text.fields);
  place := perch.read_snapshot_place(snapshot_text.after, space);
  taken := perch.snapshot_position(space, terms, place.terms, place.seq, place.mark);

  if place.is_row then
    -- Of the types that the other branch has: plans of what follows are kept by them.
    select '[]'::text as page, 0::bigint as count, max_count as room, 0::bigint as too_large,
      0::bigint as upgrade_failed into records;
  else
    records := perch.snapshot_page(
      snapshot_text.app_id, space, snapshot_text.tables, versions, place.table_name, place.record_id, max_count,
      max_bytes, wanted);
  end if;
  select null::text as page, 0 as count, 0 as too_large, null::text as last_table into rows;
  if records.room > 0 then
    select * into rows from perch.synced_page(
      snapshot_text.app_id, space, snapshot_text.tables, case when place.is_row then place.table_name end,
      case when place.is_row then place.record_id end, records.room, max_bytes - octet_length(records.page), max_bytes,
      taken.seq, wanted, place.patience);
  end if;
  if records.room = 0 then
    next_place := jsonb_build_array(2, terms, space, taken.seq, taken.mark, records.last_table, records.last_id);
  elsif rows.last_table is not null then
    next_place := jsonb_build_array(2, terms, space, taken.seq, taken.mark, rows.last_table, rows.last_id,
      case when rows.count = 0 then 2 * place.patience else 1 end);
  end if;
  -- Of another epoch, or read by other rules, nothing can be kept.
  if given ->> 'epoch' <> epoch or given ->> 'rules' is distinct from rules then
    given := null;
  end if;

  return concat(
    '{"records":', left(records.page, -1), case when records.count > 0 and rows.count > 0 then ', ' end, rows.page, ']',
    ',"cursor":', jsonb_strip_nulls(jsonb_build_object(
         'v', 2, 'app', snapshot_text.app_id, 'tables', perch.tables_digest(snapshot_text.tables), 'epoch', epoch,
         'rules', rules))
      || jsonb_build_object(
           'spaces', coalesce(given -> 'spaces', '{}')
             || jsonb_build_object(space, jsonb_build_array(taken.seq, taken.mark)
                  || case when rules is not null then jsonb_build_array(role) else '[]' end),
           'behind', coalesce((given -> 'behind') - space, '[]') || to_jsonb(space)),
    ',"next":', coalesce(
      to_json(translate(encode(convert_to(next_place::text, 'UTF8'), 'base64'), E'\n', '')), 'null'),
    case when records.too_large + rows.too_large + records.upgrade_failed > 0 then
      concat(',"withheld":', json_build_object(
        'too_large', records.too_large + rows.too_large, 'upgrade_failed', records.upgrade_failed)) end,
    '}');
end
$$;
grant execute on function perch.snapshot_text to perch_app;

comment on function perch.snapshot_text(text, text, text, integer, jsonb, text[], jsonb, jsonb) is
  'What perch.snapshot_records returns, as JSON text in one line, for programs that parse it themselves or pass it on. Arguments and errors: as perch.snapshot_records. Example: select perch.snapshot_text(app_id => ''todo'', space_id => ''team'');';
