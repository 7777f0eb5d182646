-- Table by table, in the order of their names; within a table in the order of its key, whatever its types, from behind
-- the row that was given last: so a page costs what is on it where there is an index on the column of the space and the
-- key.
--
-- What is out of sight is passed over, many rows at a time; a page that has nothing else is empty, and not the last.
-- Where the next page begins is told by the last row that is in sight: a place is in the hands of its reader, and the
-- key of a row out of sight would be, too. So what was passed over behind that row is looked through again; a page
-- behind an empty one looks for twice as long (patience), so that in the end one gets through, having looked at no row
-- more than some three times as often as need be.
--
-- A table whose triggers are gone is none of the log any more, whatever perch.synced_relations says: the oid may be
-- that of another table.
create or replace function perch.synced_page(
  app_id text, space_id text, tables text[], after_table text, after_id text, max_count integer, max_page bigint,
    max_bytes bigint, seq bigint, wanted jsonb, patience integer,
  out page text, out count integer, out too_large integer, out last_table text, out last_id text
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO, MDY'
set intervalstyle = 'postgres'
set bytea_output = 'hex'
set extra_float_digits = 1
as $$
declare
  started constant timestamptz := clock_timestamp();
  role constant text := (perch.roles_in(array[synced_page.space_id]))[1];
  synced perch.synced_relations;
  careful boolean;
  found record;
  hidden text[];
  data text;
  entry text;
  entries text[];
  shown jsonb;
  size integer;
  sizes integer[];
  images jsonb[];
  sees boolean[];
  bytes bigint := 0;
  asked integer;
  ahead bigint;
  cut boolean;
  passed text;
begin
  page := '';
  count := 0;
  too_large := 0;
  last_table := coalesce(after_table, '');
  last_id := after_id;
  for synced in
    select r.* from perch.synced_relations r
     where r.app_id = synced_page.app_id and (synced_page.tables is null or r.table_name = any (synced_page.tables))
       and (after_table is null or r.table_name >= after_table collate "C")
       and (r.space_id is null or r.space_id = synced_page.space_id)
       -- Without a key its rows have no ids.
       and perch.key_columns(r.relation) is not null
       and exists (select from pg_trigger t join pg_proc p on p.oid = t.tgfoid
                    where t.tgrelid = r.relation and p.pronamespace = 'perch'::regnamespace)
     order by r.table_name
  loop
    hidden := perch.columns_hidden_from(synced, role);
    passed := case when synced.table_name = after_table then after_id end;
    loop
      asked := max_count - count + 1;
      -- An expression may fail for a single row, which is in no space then: where that happens, each row is asked for
      -- itself.
      foreach careful in array '{false,true}'::boolean[] loop
        entries := '{}';
        sizes := '{}';
        images := '{}';
        ahead := bytes;
        cut := false;
        begin
          for found in execute perch.synced_rows(synced, synced_page.space_id, passed, careful)
            using synced_page.space_id, asked
          loop
            shown := perch.chosen_fields(found.data - hidden, wanted -> synced.table_name);
            size := case when pg_column_size('{}'::jsonb || shown) > 4000 then perch.text_size(shown) end;
            -- What may be more text than Postgres can make is not made text.
            data := case when size > max_bytes then null else shown::text end;
            entries := entries || found.record_id || data;
            sizes := sizes || size;
            ahead := ahead + coalesce(octet_length(data), 0);
            if synced.row_filter is not null then
              images := array_append(images, found.image);
              ahead := ahead + pg_column_size(found.image);
            end if;
            cut := ahead > max_page;
            exit when cut;
          end loop;
          exit;
        exception when assert_failure or others then
          if careful or synced.space_expression is null or perch.is_servers_code(sqlstate) then
            raise;
          end if;
        end;
      end loop;
      sees := case when synced.row_filter is not null then
        perch.rows_in_sight(synced, images) end;

      for nth in 1 .. cardinality(entries) / 2 loop
        if sees is null or sees[nth] then
          entry := json_build_object('table', synced.table_name, 'id', entries[2 * nth - 1], 'data',
            entries[2 * nth]::json, 'field_meta', '{}'::json,
            'seq', synced_page.seq, 'inserted_at', null, 'deleted_at', null, 'schema_version', 1)::text;
          if octet_length(entry) > max_bytes or sizes[nth] > max_bytes then
            entry := perch.withheld(entry, 'too_large', greatest(octet_length(entry), sizes[nth]), max_bytes);
            too_large := too_large + 1;
          end if;
          bytes := bytes + octet_length(entry) + 2;
          -- There are more: the next page begins behind the last that is in sight.
          if count = max_count or count > 0 and bytes > max_page then
            return;
          end if;
          page := concat(page, case when count > 0 then ', ' end, entry);
          count := count + 1;
          last_table := synced.table_name;
          last_id := entries[2 * nth - 1];
        end if;
        passed := entries[2 * nth - 1];
      end loop;
      -- There may be more, though not all of these are in sight: some are looked through here, but nobody waits for
      -- long.
      if (cut or cardinality(entries) / 2 = asked)
        and (cut and count > 0 or clock_timestamp() > started + patience * interval '200 ms')
      then
        return;
      end if;
      exit when not cut and cardinality(entries) / 2 < asked;
    end loop;
  end loop;
  last_table := null;
  last_id := null;
end
$$;

comment on function perch.synced_page(
  text, text, text[], text, text, integer, bigint, bigint, bigint, jsonb, integer) is
  'Private. The rows of synced tables in a space, as records of a snapshot: text without its brackets; last_table and last_id, of the last that is in sight, where there are more. patience: for how many times as long it looks through rows that are out of sight.';
