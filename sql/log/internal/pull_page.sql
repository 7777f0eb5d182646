-- What a page shows under concurrent commits. The function is stable: every query in it sees the database as it was
-- when the caller's statement began. In that snapshot each space's log is a prefix of its order: whoever has number n
-- has waited for the commit of every smaller number (perch.number_changes), so if n is visible, so is all before it,
-- and the counter, which belongs to the same snapshot, is the last visible number. So a position never passes an entry
-- that is still to come.
--
-- What a page costs. Numbers have no gaps, so from the counters alone it is known where a page of at most some entries
-- ends; the log is then read by its primary key, space by space, and only as far as the page goes. Entries of other
-- apps or tables are passed over within that, so a page may be short, or empty, and yet has_more be true.
--
-- No page is longer than max_page_bytes, however its entries compress, and none cuts a transaction (perch.read_page).
-- Only one that is longer than max_run, or max_page_bytes, comes in parts, and all pages but its last say so
-- ("unfinished").
create or replace function perch.pull_page(
  app_id text, cursor jsonb default '{}', page_size integer default 1000, tables text[] default null,
  exclude_client_id text default null, schema_versions jsonb default null, fields jsonb default null
)
returns text
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  me constant text := perch.require_user();
  readable constant text[] := array(select distinct s collate "C" from unnest(perch.current_space_ids()) s order by 1);
  reader constant jsonb := perch.read_cursor(pull_page.cursor, pull_page.app_id, pull_page.tables);
  epoch constant text := (select e.epoch from perch.log_epoch e);
  -- Of these tables not everything is for this reader; what was read was read by these rules, in these roles.
  ruled constant text[] := perch.ruled_tables(pull_page.app_id, pull_page.tables);
  rules constant text := perch.rules_mark(pull_page.app_id, pull_page.tables);
  max_count integer := perch.check_page_size(pull_page.page_size);
  -- How far beyond its size a page goes for the sake of a transaction.
  max_run integer := 10000;
  -- Where the caller would have a page end, if the next entry need not be on it.
  page_bytes constant bigint := least(
    perch.setting('max_page_bytes', 16777216), nullif(current_setting('perch.page_bytes', true), '')::bigint);
  versions jsonb;
  wanted jsonb;
  places perch.log_place[];
  reached perch.log_place[];
  lag bigint;
  -- In these, echoes are not left out yet.
  behind text[];
  page text;
  given bigint;
  fetched bigint;
  last bigint[];
  too_large bigint;
  failed bigint;
  is_short boolean;
  has_more boolean;
  unfinished json;
begin
  perform perch.check_id(pull_page.app_id, 'app_id', 64);
  versions := perch.check_versions(pull_page.app_id, pull_page.schema_versions);
  wanted := perch.check_fields(pull_page.fields);
  places := perch.log_places(readable, reader, epoch, rules, greatest(max_count * 2, 5000));
  lag := (select sum(p.head - p.start) from unnest(places) p);
  behind := array(
    select r.space_id from unnest(readable) r (space_id)
      left join jsonb_object_keys(reader -> 'spaces') known (space_id) on known.space_id = r.space_id
      left join jsonb_array_elements_text(reader -> 'behind') late (space_id) on late.space_id = r.space_id
     where known.space_id is null or late.space_id is not null);

  loop
    begin
      reached := places;
      page := '[]';
      -- As a rule there is nothing new, which is known already: the counters have not moved.
      is_short := lag = 0;
      if not is_short then
        if versions is null and wanted is null and ruled = '{}' and least(lag, max_count) * 8000 <= page_bytes then
          select s.page, s.count, s.count, s.last into page, given, fetched, last
            from perch.short_page(places, pull_page.app_id, pull_page.tables, pull_page.exclude_client_id, behind,
                   max_count) s;
          is_short := page is not null;
        end if;
        if not is_short then
          select r.page, r.given, r.fetched, r.last, r.too_large, r.failed
            into page, given, fetched, last, too_large, failed
            from perch.read_page(places, pull_page.app_id, pull_page.tables, pull_page.exclude_client_id, behind,
                   versions, wanted, ruled, max_count, max_run, page_bytes) r;
        end if;
        -- Ended before its bounds: at its last entry.
        reached := perch.places_after(places, last[1]::integer, last[2], fetched >= max_count or given < fetched);
      end if;
      has_more := lag > 0 and exists (select from unnest(reached) p where p.stop < p.head);
      if has_more and not is_short then
        unfinished := perch.unfinished_run(reached, pull_page.app_id, pull_page.tables, max_run);
      end if;
      return concat(
        '{"changes":', page,
        ',"cursor":', perch.cursor_at(reached, pull_page.app_id, pull_page.tables, epoch, rules, behind),
        ',"has_more":', to_json(has_more),
        ',"revoked_space_ids":', to_json(array(
          select k from jsonb_object_keys(reader -> 'spaces') k where k <> all (readable))),
        case when unfinished is not null then concat(',"unfinished":', unfinished) end,
        case when too_large + failed > 0 then
          concat(',"withheld":', json_build_object('too_large', too_large, 'upgrade_failed', failed)) end,
        '}');
    exception when program_limit_exceeded then
      -- More text than fits into one value. (Of one entry that cannot be: it is known beforehand to be huge.)
      if max_count = 1 and max_run = 0 then
        raise;
      end if;
      max_count := greatest(1, max_count / 4);
      max_run := max_run / 4;
    end;
  end loop;
end
$$;

comment on function perch.pull_page(text, jsonb, integer, text[], text, jsonb, jsonb) is
  'Private. The page of perch.pull_text, of what has its numbers.';
