-- One chunk of the first snapshot of a shape, in the order of the primary key. Nothing is kept between two chunks, and
-- the next may be asked of another process: it is read from the table as it is then, and what has changed since the
-- first is taken back by the log (perch.shape_images). So all chunks together show one moment, the snapshot of
-- Postgres in which the first was read: a row that is as it was then is read from the table, one that is not comes from
-- the image before its first change. The function is stable, so all its queries see the snapshot of the statement that
-- calls it: table, log and queue are those of one moment here, too.
--
-- Rows become text where they are read, many in one query: a row costs no call and no step of a loop. It is the text
-- of an array of its columns, since Postgres makes that in half the time of the message, and it is a third as long:
-- what is the same in each message (frame) is put around it by whoever serves it.
--
-- The first query is for a few rows, the next for as many as should fill the chunk, by the length of those: few
-- queries, since where no index has the order of the key each sorts all rows. What bounds the memory is that no row may
-- be twice as long as its part of the chunk: where one is (perch.give_up), the query is given up there, and asked again
-- for a quarter of the rows; of one row any length goes. The chunk ends, too, where rows that have changed since are as
-- long as it may be (last_old).
--
-- A filter that may fail is evaluated on what the user may see alone (offset 0: it stays outside), since an error would
-- tell of the rest; for that no index serves it.
create or replace function perch.shape_rows(
  schema_name text, table_name text, filter jsonb default null, columns text[] default null,
  after_key text[] default null, since_position bigint default null, since_snapshot pg_snapshot default null,
  max_bytes integer default 4000000
)
returns table (fields text, last_key text[], "position" bigint, snapshot pg_snapshot, frame jsonb)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO, MDY'
set intervalstyle = 'iso_8601'
set bytea_output = 'hex'
set extra_float_digits = 1
set jit = off
-- What it gives stays in memory.
set work_mem = '16MB'
as $$
declare
  me constant text := perch.require_user();
  synced constant perch.synced_relations := perch.open_relation(shape_rows.schema_name, shape_rows.table_name);
  spaces constant text[] := perch.shape_spaces(synced);
  texts constant record := perch.shape_texts(synced, spaces, shape_rows.filter, shape_rows.columns,
    case when since_snapshot is not null
      then jsonb_build_object('position', since_position, 'snapshot', since_snapshot) end);
  types constant text[] := array(
    select format_type(a.atttypid, a.atttypmod) from unnest(texts.keys) with ordinality k (name, nth)
      join pg_attribute a on a.attrelid = synced.relation and a.attname = k.name order by k.nth);
  changed jsonb := '{}';
  careful boolean := false;
  given text[] := shape_rows.after_key;
  last_old text[];
  wanted bigint := greatest(shape_rows.max_bytes / 2000, 1);
  most bigint := 10000;
  read bigint;
  got bigint;
  bytes bigint := 0;
  -- Of each message what is not in fields: two quotes, a colon and a comma for each column, and its name.
  around constant integer := octet_length(texts.frame ->> 'opening') + octet_length(texts.frame ->> 'ending')
    + (select sum(octet_length(n) + 4) from jsonb_array_elements_text(texts.frame -> 'names') n);
begin
  if cardinality(shape_rows.after_key) <> cardinality(texts.keys) then
    perform perch.fail('PE422', 'the key is none of this table', jsonb_build_object('argument', 'after_key'),
      'Pass the key of a row of the last page as it came.');
  end if;
  "position" := coalesce(shape_rows.since_position, perch.log_position());
  snapshot := coalesce(shape_rows.since_snapshot, pg_current_snapshot());
  fields := '';
  frame := texts.frame;
  if spaces = '{}' then
    return next;
    return;
  end if;

  if shape_rows.since_snapshot is not null then
    perform perch.require_history(synced, spaces, shape_rows.since_position);
    perform perch.require_few_changed(synced, spaces, shape_rows.since_position, shape_rows.since_snapshot);
    execute format(
      'select coalesce(json_object_agg(c.key, true)::jsonb, ''{}'')
         from (select distinct %s as key
                 from (%s) i cross join lateral %s) c',
      texts.key, perch.shape_images(synced), perch.image_row(synced.relation, 'i.any_row', texts.key))
      into changed
      using spaces, shape_rows.since_snapshot, shape_rows.since_position, synced.app_id, synced.table_name;
  end if;
  if changed <> '{}' then
    execute format(
      'select array[%1$s]
         from (select o.*, sum(octet_length(%2$s)) over (order by %3$s) as bytes
                 from (select i.old_row, %4$s
                         from (%5$s) i cross join lateral %6$s
                        where i.old_row is not null and %7$s and %8$s
                        order by %9$s offset 0) o
                cross join lateral %10$s) b
        where b.bytes > $6 order by b.bytes limit 1',
      (select string_agg(format('b.key_%s::text', nth), ', ' order by nth)
         from generate_series(1, cardinality(texts.keys)) nth),
      texts.fields,
      (select string_agg(format('o.key_%s', nth), ', ' order by nth)
         from generate_series(1, cardinality(texts.keys)) nth),
      (select string_agg(format('perch_row.%I as key_%s', k.name, k.nth), ', ' order by k.nth)
         from unnest(texts.keys) with ordinality k (name, nth)),
      perch.shape_images(synced), perch.image_row(synced.relation, 'i.old_row', texts.condition), texts.condition,
      coalesce(perch.compared_key('perch_row', texts.keys, types, '>', given), 'true'), texts.order_by,
      perch.image_row(synced.relation, 'o.old_row', texts.fields))
      into last_old
      using spaces, shape_rows.since_snapshot, shape_rows.since_position, synced.app_id, synced.table_name,
            shape_rows.max_bytes;
  end if;

  loop
    begin
      execute format(
        'select string_agg(case when octet_length(r.fields) > $4 then perch.give_up() else r.fields end, ''''),
                count(*), array[%s]
           from (select %s as fields, %s
                   from (select t.* from %s t where %s %s %s) perch_row
                  where %s %s
                  order by %s
                  limit $3) r',
        (select string_agg(format('(array_agg(r.key_%s))[count(*)]', nth), ', ' order by nth)
           from generate_series(1, cardinality(texts.keys)) nth),
        texts.fields,
        (select string_agg(format('perch_row.%I::text as key_%s', k.name, k.nth), ', ' order by k.nth)
           from unnest(texts.keys) with ordinality k (name, nth)),
        synced.relation, perch.shape_space(synced, spaces, careful),
        concat('and ' || perch.compared_key('t', texts.keys, types, '>', given),
          ' and ' || perch.compared_key('t', texts.keys, types, '<=', last_old)),
        case when not texts.is_safe then format('order by %s offset 0', replace(texts.order_by, 'perch_row.', 't.'))
          end,
        texts.condition, case when changed <> '{}' then format('and not $2 ? (%s)', texts.key) end,
        texts.order_by)
        into fields, read, last_key
        using spaces, changed, wanted,
              case when wanted > 1 then greatest(2 * shape_rows.max_bytes::bigint / wanted - around, 0) end;
    exception
      when sqlstate 'PE499' then
        most := greatest(wanted / 4, 1);
        wanted := most;
        continue;
      -- An expression may fail for a single row, which is in no space then: then each is asked for itself.
      when assert_failure or others then
        if careful or synced.space_expression is null or perch.is_servers_code(sqlstate) then
          raise;
        end if;
        careful := true;
        continue;
    end;
    fields := coalesce(fields, '');
    got := octet_length(fields) + read * around;
    bytes := bytes + got;
    exit when read < wanted or bytes >= 0.9 * shape_rows.max_bytes;
    given := last_key;
    return next;
    most := least(2 * most, 10000);
    wanted := least(most, greatest(1, (shape_rows.max_bytes - bytes) * read / got));
  end loop;
  if read < wanted then
    last_key := last_old;
  end if;
  return next;

  if changed <> '{}' then
    execute format(
      'select string_agg(%s, '''')
         from (%s) i
        cross join lateral %s
        where i.old_row is not null and %s and %s and %s',
      texts.fields, perch.shape_images(synced),
      perch.image_row(synced.relation, 'i.old_row', concat(texts.fields, texts.condition)), texts.condition,
      coalesce(perch.compared_key('perch_row', texts.keys, types, '>', shape_rows.after_key), 'true'),
      coalesce(perch.compared_key('perch_row', texts.keys, types, '<=', last_key), 'true'))
      into fields
      using spaces, shape_rows.since_snapshot, shape_rows.since_position, synced.app_id, synced.table_name;
    fields := coalesce(fields, '');
    return next;
  end if;
end
$$;
grant execute on function perch.shape_rows to perch_app;

comment on function perch.shape_rows(text, text, jsonb, text[], text[], bigint, pg_snapshot, integer) is
  'A chunk of the rows of a synced table that the current user may see and of which the filter is true, for whoever serves shapes. filter: a tree, as docs/shapes.md says; columns: these alone (null: all that are synced). fields: the rows, each as the text of an array of its columns, one behind the other, in several rows, of which insertions of the shape protocol of some max_bytes can be made; frame: what those have around the columns, {"opening", "keys": [number of the column], "names", "ending"}; last_key, of the last row: where the next chunk goes on (null: this was the last), to be passed as after_key, with the position and snapshot that the first chunk came with as since_position and since_snapshot: all chunks then show the moment of the first. For the first since_position is one that the log had reached before (null: what the user sees of it). Errors: PE401, PE404 when no such table is synced, PE410 when the log no longer says what has changed since, PE413, PE422. Example: select * from perch.shape_rows(schema_name => ''public'', table_name => ''orders'');';
