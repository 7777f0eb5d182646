-- One order over all spaces: perch.order_commits gives the places, here they are read. A page is a stretch of
-- places, so of its entries the spaces are known, and the context is that of whoever may read these (perch.read_as):
-- what shows a document, or a row with rules, asks the same of a reader as of everybody.
--
-- It ends with a transaction, unless that alone is longer than a page may be; what an app is not told of is passed
-- over.
create or replace function perch.read_log(
  reader text, cursor jsonb default '{}', page_size integer default 1000, tables text[] default null,
  fields jsonb default null
)
returns jsonb
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  apps constant text[] := perch.require_reader(reader);
  max_count constant integer := perch.check_page_size(page_size);
  wanted constant jsonb := perch.check_fields(fields);
  max_bytes constant bigint := least(perch.setting('max_page_bytes', 16777216), 67108864);
  before text[];
  place record;
  runs perch.commit_order[];
  reached perch.commit_order;
  page record;
begin
  perform perch.number_waiting();
  perform perch.order_commits();
  place := perch.read_log_cursor(cursor, reader);
  runs := perch.log_runs(place.place, place.seq, max_count);
  before := perch.read_as(array['perch:reader:' || reader,
    array(select distinct r.space_id from unnest(runs) r)::text, '{}']);
  page := perch.log_page(runs, apps, tables, wanted, max_count, max_bytes);
  perform perch.read_as(before);

  -- Behind the last entry that was given; or all of these runs, where it has all that they hold for the reader.
  reached := case when page.cut_run is null then runs[cardinality(runs)] else runs[page.cut_run] end;
  return jsonb_build_object(
    'changes', page.changes,
    'cursor', case when reached.position is null then cursor else jsonb_strip_nulls(jsonb_build_object(
      'v', 1, 'reader', reader, 'since', perch.reader_mark(reader), 'epoch', (select e.epoch from perch.log_epoch e),
      'position', reached.position, 'seq', page.cut_seq, 'mark', perch.entry_mark(reached.at))) end,
    'has_more', page.cut_run is not null or reached.position is not null and exists (
      select from perch.commit_order c where c.position > reached.position));
end
$$;
grant execute on function perch.read_log to perch_app;

comment on function perch.read_log(text, jsonb, integer, text[], jsonb) is
  'For services that a DBA has registered (perch.register_reader), search indexes and webhooks: the changes of their apps in all spaces after the cursor, in one order. In each space that is the order of its log; over all of them, what had got its number when another transaction began comes before what that one wrote. What a transaction logged at once stands together, and is on one page where it is not longer than a page may be (10000 changes more than page_size, max_page_bytes). tables: only these. fields: as for perch.pull. Returns {"changes": […, as perch.pull gives them, each with its app_id], "cursor", "has_more"}: keep the cursor with what was made of the changes, and read on at once while has_more. A reader has no cursor at first, and begins with perch.read_log_snapshot. Errors: PE403 when it is not registered, or for another login; PE410 with {"reason": "new|expired|ahead|epoch"}: take perch.read_log_snapshot; PE422. Example: select perch.read_log(reader => ''search'', cursor => ''{"v": 1}'');';
