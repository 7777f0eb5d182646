-- Why reading on from the cursor misses nothing: it was taken with the first page, when all that had been logged had
-- its place (perch.order_commits), so what was not in the order yet had not committed, and comes behind it. A record
-- that a later page shows with such a change already is merged with it once more, which changes nothing; or is
-- written twice, the second time as it is at the end.
--
-- A page is of one space and app; those that have nothing are passed over, for as long as nobody waits for it.
create or replace function perch.read_log_snapshot(
  reader text, after text default null, page_size integer default 1000, tables text[] default null,
  fields jsonb default null
)
returns jsonb
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  apps constant text[] := perch.require_reader(reader);
  started constant timestamptz := clock_timestamp();
  max_count constant integer := perch.check_page_size(page_size);
  -- [cursor, the last space that is done, those behind it as far as they are looked up, app of the next, next of its
  -- page]
  place jsonb;
  reached perch.commit_order;
  space text;
  nth integer;
  before text[];
  page jsonb;
begin
  if after is null then
    perform perch.number_waiting();
    perform perch.order_commits();
    select c.* into reached from perch.commit_order c where c.position is not null order by c.position desc limit 1;
    place := jsonb_build_array(jsonb_build_object('v', 1, 'reader', reader, 'since', perch.reader_mark(reader),
      'epoch', (select e.epoch from perch.log_epoch e), 'position', coalesce(reached.position, 0),
      'mark', coalesce(perch.entry_mark(reached.at), '')), '', '[]'::jsonb, 1, null);
  else
    begin
      place := convert_from(decode(after, 'base64'), 'UTF8')::jsonb;
      nth := (place ->> 3)::integer;
    exception when data_exception then
      place := null;
    end;
    if place #>> '{0,reader}' is distinct from reader or jsonb_typeof(place) <> 'array'
      or jsonb_typeof(place -> 2) is distinct from 'array' or nth is null or nth < 1 then
      perform perch.fail('PE422', 'after is not what a page of this reader gave as next',
        jsonb_build_object('argument', 'after'), 'Pass next of the last page; null begins anew.');
    end if;
    if place #>> '{0,since}' is distinct from perch.reader_mark(reader) or nth > cardinality(apps) then
      perform perch.fail('PE410', 'this reader reads other apps by now', jsonb_build_object('reason', 'new'),
        'Begin the snapshot again, with after null.');
    end if;
  end if;
  loop
    if place -> 2 = '[]' then
      -- Many at once: it goes over synced tables.
      place := jsonb_set(place, '{2}', to_jsonb(perch.spaces_after(apps, place ->> 1, 100)));
    end if;
    space := place #>> '{2,0}';
    if space is null then
      return jsonb_build_object('space_id', null, 'app_id', null, 'records', '[]'::jsonb, 'next', null,
        'cursor', place -> 0);
    end if;
    nth := (place ->> 3)::integer;
    before := perch.read_as(array['perch:reader:' || reader, array[space]::text, '{}']);
    page := perch.snapshot_records(app_id => apps[nth], space_id => space, after => place ->> 4,
      page_size => max_count, tables => read_log_snapshot.tables, fields => read_log_snapshot.fields);
    perform perch.read_as(before);
    place := case when page ->> 'next' is not null then jsonb_set(place, '{4}', page -> 'next')
                  when nth < cardinality(apps) then
                    jsonb_build_array(place -> 0, place -> 1, place -> 2, nth + 1, null)
                  else jsonb_build_array(place -> 0, space, (place -> 2) - 0, 1, null) end;
    exit when page -> 'records' <> '[]' or clock_timestamp() > started + interval '200 milliseconds';
  end loop;
  return jsonb_build_object('space_id', space, 'app_id', apps[nth], 'records', page -> 'records', 'cursor', place -> 0,
    'next', translate(encode(convert_to(place::text, 'UTF8'), 'base64'), E'\n', ''));
end
$$;
grant execute on function perch.read_log_snapshot to perch_app;

comment on function perch.read_log_snapshot(text, text, integer, text[], jsonb) is
  'For services that a DBA has registered (perch.register_reader): the live records of their apps in all spaces, a page at a time, each of one space and app, and a cursor from which perch.read_log misses nothing. Pass next as after until it is null, and everything else unchanged; a page may be empty. What stood in the index of a space and is in none of the pages was deleted. Returns {"space_id", "app_id", "records": [… as perch.snapshot_records gives them], "cursor", "next"}. Errors: PE403, PE410 (begin again, with after null), PE422. Example: select perch.read_log_snapshot(reader => ''search'');';
