-- perch.shape_changes for many shapes that differ in their filters alone, and whose readers stand at the same place: the
-- log is gone through once, and each row is rendered once for all whom it concerns.
--
-- A filter that may fail for a row would be the fault of all: it is not tried. One with sub-selects asks for more than
-- its own table, and is not, either. What is more than a page is cut for each shape where its page ends: then none is.
-- Positions are given out in transactions, so a stretch from the end of one to that of another has no half of any.
create or replace function perch.changes_of_shapes(
  schema_name text, table_name text, after_position bigint, upto bigint, filters jsonb[], columns text[] default null,
  whole boolean default false, max_count integer default 10000, max_bytes integer default 4000000,
  out messages text[], out txids text[], out filter_numbers text[], out untried integer[]
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO, MDY'
set intervalstyle = 'iso_8601'
set bytea_output = 'hex'
set extra_float_digits = 1
set jit = off
as $$
declare
  me constant text := perch.require_user();
  synced constant perch.synced_relations := perch.open_relation(changes_of_shapes.schema_name,
    changes_of_shapes.table_name);
  spaces constant text[] := perch.shape_spaces(synced);
  all_columns constant jsonb := perch.shape_columns(synced, spaces);
  texts constant record := perch.shape_texts(synced, spaces, null, changes_of_shapes.columns, null);
  all_filters constant integer[] := array(select generate_series(1, cardinality(filters)));
  matches text;
  current_txid xid8;
  began bigint;
  bytes bigint := 0;
  entry record;
begin
  perform perch.require_history(synced, spaces, after_position);
  perform perch.require_history(synced, spaces, upto);
  messages := '{}';
  txids := '{}';
  filter_numbers := '{}';
  untried := all_filters;
  if upto - after_position > max_count or cardinality(filters) = 0 then
    return;
  end if;
  select coalesce(array_agg(f.nth::integer) filter (where not f.is_safe), '{}'),
         perch.filter_in_sight(synced, format('array[%s]::boolean[]', string_agg(
           case when f.is_safe then perch.filter_text(f.filter, all_columns) else 'null' end, ', ' order by f.nth)))
    into untried, matches
    from (select l.*, perch.never_fails(l.filter, all_columns) as is_safe
            from unnest(filters) with ordinality l (filter, nth) offset 0) f;
  if cardinality(untried) = cardinality(filters) then
    return;
  end if;
  for entry in execute perch.shape_changes_query(synced, perch.shape_entries(), texts.values, texts.key, matches, matches,
    texts.keys, whole)
    using after_position, upto, synced.app_id, synced.table_name, spaces
  loop
    if entry.txid is distinct from current_txid then
      began := entry.position;
      current_txid := entry.txid;
    end if;
    bytes := bytes + entry.image_bytes;
    if entry.operation is not null then
      messages := messages || perch.operation_message(entry.operation, entry.key, entry.value, entry.old_value,
        texts.headers, (entry.txid::text::numeric % 4294967296)::text, began, entry.position - began);
      txids := txids || entry.txid::text;
      filter_numbers := filter_numbers || array_to_string(entry.filters, ',');
      bytes := bytes + octet_length(messages[cardinality(messages)]);
    end if;
    if bytes > max_bytes then
      messages := '{}';
      txids := '{}';
      filter_numbers := '{}';
      untried := all_filters;
      return;
    end if;
  end loop;
end
$$;
grant execute on function perch.changes_of_shapes to perch_app;

comment on function perch.changes_of_shapes(text, text, bigint, bigint, jsonb[], text[], boolean, integer, integer) is
  'What perch.shape_changes says of many shapes of a synced table that differ in their filters alone, from one position to another (both ends of transactions), for whoever serves shapes. messages: operations of the shape protocol, as JSON, without a mark of the last of a transaction; txids: the transaction of each; filter_numbers: which of the filters it concerns, counted from 1, by commas; untried: of which of them it is not said, because they may fail for a row or ask for other tables: of all of them where it is more than a page (max_count positions, max_bytes). Errors: PE401, PE404 when no such table is synced, PE410, PE422, as perch.shape_changes. Example: select * from perch.changes_of_shapes(schema_name => ''public'', table_name => ''orders'', after_position => 0, upto => 0, filters => ''{}'');';
