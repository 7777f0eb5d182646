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
  place jsonb;  -- [cursor, the last space that is done, app of the next, next of its page]
  reached perch.commit_order;
  spaces text[];
  space text;
  nth integer;
  before text[];
  page jsonb;
begin
  if after is null then
    perform perch.number_waiting();
    perform perch.order_commits();
    select c.* into reached from perch.commit_order c where c.position is not null order by c.position desc limit 1;
    place := jsonb_build_array(jsonb_build_object('v', 1, 'reader', reader, 'epoch',
      (select e.epoch from perch.log_epoch e), 'position', coalesce(reached.position, 0),
      'mark', coalesce(perch.entry_mark(reached.at), '')), '', 1, null);
  else
    begin
      place := convert_from(decode(after, 'base64'), 'UTF8')::jsonb;
      nth := (place ->> 2)::integer;
    exception when data_exception then
      place := null;
    end;
    if place #>> '{0,reader}' is distinct from reader or jsonb_array_length(place) <> 4 or nth is null
      or nth not between 1 and cardinality(apps) then
      perform perch.fail('PE422', 'after is not what a page of this reader gave as next',
        jsonb_build_object('argument', 'after'), 'Pass next of the last page; null begins anew.');
    end if;
  end if;
  loop
    spaces := perch.spaces_after(apps, place ->> 1, 1);
    space := spaces[1];
    if space is null then
      return jsonb_build_object('space_id', null, 'app_id', null, 'records', '[]'::jsonb, 'next', null,
        'cursor', place -> 0);
    end if;
    nth := (place ->> 2)::integer;
    before := perch.read_as(array['perch:reader:' || reader, array[space]::text, '{}']);
    page := perch.snapshot_records(app_id => apps[nth], space_id => space, after => place ->> 3,
      page_size => max_count, tables => read_log_snapshot.tables, fields => read_log_snapshot.fields);
    perform perch.read_as(before);
    place := case when page ->> 'next' is not null then jsonb_set(place, '{3}', page -> 'next')
                  when nth < cardinality(apps) then jsonb_build_array(place -> 0, place -> 1, nth + 1, null)
                  else jsonb_build_array(place -> 0, space, 1, null) end;
    exit when page -> 'records' <> '[]' or clock_timestamp() > started + interval '200 milliseconds';
  end loop;
  return jsonb_build_object('space_id', space, 'app_id', apps[nth], 'records', page -> 'records', 'cursor', place -> 0,
    'next', translate(encode(convert_to(place::text, 'UTF8'), 'base64'), E'\n', ''));
end
$$;
grant execute on function perch.read_log_snapshot to perch_app;

comment on function perch.read_log_snapshot(text, text, integer, text[], jsonb) is
  'For services that a DBA has registered (perch.register_reader): the live records of their apps in all spaces, a page at a time, each of one space and app, and a cursor from which perch.read_log misses nothing. Pass next as after until it is null, and everything else unchanged; a page may be empty. What stood in the index of a space and is in none of the pages was deleted. Returns {"space_id", "app_id", "records": [… as perch.snapshot_records gives them], "cursor", "next"}. Errors: PE403, PE410 (begin again, with after null), PE422. Example: select perch.read_log_snapshot(reader => ''search'');';
