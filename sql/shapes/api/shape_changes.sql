-- One page of what happened to a shape, in the order of the positions, which only the sequencer gives out, one at a
-- time: whoever has seen one will find no smaller one later.
--
-- The filter is evaluated on the row before and on the row after: what came into sight is an insertion, what left it a
-- deletion, whichever the statement was.
--
-- The entries of all tables are gone through, not of this one alone: a transaction is told by where it begins in the
-- log. An operation is numbered by that (lsn) and by how far it is behind (op_position), so that it has the same
-- numbers in the shapes of several tables, and whoever reads on from the middle of a transaction, after (after_lsn,
-- after_op), counts on.
--
-- Of a filter with sub-selects the tables in these are seen as they were, too (since_snapshot: what the reader had
-- before everything here): perch.shape_stretch, perch.shape_moves.
--
-- A page may say little, or nothing, of rows that are very long: it ends where what was looked at, unpacked, is four
-- times as long as a page may be, too.
--
-- What the user may not read is not even seen here. So how far the log had come (upto) is told by whoever sees all
-- of it, and a page is a stretch of positions: a reader never goes through the entries of others twice.
create or replace function perch.shape_changes(
  schema_name text, table_name text, after_lsn bigint, after_op bigint default 0, filter jsonb default null,
  columns text[] default null, whole boolean default false, upto bigint default null,
  max_count integer default 10000, max_bytes integer default 4000000, since_snapshot pg_snapshot default null,
  out messages text[], out txids text[], out lsn bigint, out op bigint, out is_end boolean
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO, MDY'
set intervalstyle = 'iso_8601'
set bytea_output = 'hex'
set extra_float_digits = 1
as $$
declare
  me constant text := perch.require_user();
  synced constant perch.synced_relations := perch.open_relation(shape_changes.schema_name, shape_changes.table_name);
  spaces constant text[] := perch.shape_spaces(synced);
  start constant bigint := after_lsn + after_op;
  head constant bigint := coalesce(shape_changes.upto, perch.log_position());
  snapshot constant pg_snapshot := coalesce(since_snapshot, '3:3:');
  stretch constant record := perch.shape_stretch(shape_changes.filter, start, least(head, start + max_count), head,
    snapshot);
  stop constant bigint := stretch.stop;
  after constant jsonb := jsonb_build_object('position', stop, 'snapshot', snapshot);
  texts constant record := perch.shape_texts(synced, spaces, shape_changes.filter, shape_changes.columns, after);
  matches constant text := format('array[%s]', texts.condition);
  -- The transaction of the entry last gone through, and where it begins.
  current_txid xid8 := case when after_op > 0 then (
    select l.txid from perch.sync_changes l where l.position between after_lsn and after_lsn + after_op
     order by l.position desc limit 1) end;
  began bigint := after_lsn;
  passed bigint := start;
  bytes bigint := 0;
  image_bytes bigint := 0;
  is_whole boolean := true;
  is_marked boolean := true;
  entries refcursor;
  entry record;
begin
  perform perch.require_history(synced, spaces, start);
  perform perch.require_history(synced, spaces, head);
  perform perch.require_history((t.synced), t.spaces, start)
    from perch.filter_selects(shape_changes.filter, true, true) f
   cross join lateral perch.selected_table(f.found) t;
  messages := '{}';
  txids := '{}';
  begin
    if stretch.moves then
      select m.messages, m.lsn, array_fill(m.txid::text, array[cardinality(m.messages)])
        into messages, began, txids
        from perch.moved_messages(synced, spaces, filter, shape_changes.columns, whole,
          jsonb_build_object('position', start, 'snapshot', snapshot), after) m;
      passed := stop;
      is_end := stop >= head;
      lsn := case when is_end then stop else began end;
      op := stop - lsn;
      return;
    end if;
    -- Fetched one by one: a loop over a query is many rows ahead of itself.
    open entries for execute perch.shape_changes_query(synced, perch.shape_entries(), texts.values, texts.key,
      matches, matches, texts.keys, whole)
      using start, stop, synced.app_id, synced.table_name, spaces;
    loop
      fetch entries into entry;
      exit when not found;
      is_whole := bytes <= max_bytes and image_bytes <= max_bytes * 4::bigint;
      exit when not is_whole;
      if entry.txid is distinct from current_txid then
        began := entry.position;
        current_txid := entry.txid;
        if not is_marked then
          messages[cardinality(messages)] := perch.marked_last(messages[cardinality(messages)]);
          is_marked := true;
        end if;
      end if;
      passed := entry.position;
      image_bytes := image_bytes + entry.image_bytes;
      if entry.operation is not null then
        messages := messages || perch.operation_message(entry.operation, entry.key, entry.value, entry.old_value,
          texts.headers, (entry.txid::text::numeric % 4294967296)::text, began, entry.position - began);
        txids := txids || entry.txid::text;
        is_marked := false;
        bytes := bytes + octet_length(messages[cardinality(messages)]);
      end if;
    end loop;
    close entries;
  exception
    -- What has moved is looked at as a whole: where that took too long it does each time, and nobody comes past it.
    when query_canceled then
      if not stretch.moves then
        raise;
      end if;
      perform perch.fail('PE410', 'to look at what has moved took too long', jsonb_build_object('position', start),
        'Fetch the shape from its beginning: offset -1, without a handle.');
    when others then
      perform perch.require_readable((r.relation).relation, format(
          'select i.image from perch.sync_changes l
            cross join lateral perch.entry_images(array[l.space_id::text], array[l.seq]) e
            cross join lateral (values (e.old_row), (e.new_row)) i (image)
            where l.position > %L and l.position <= %L and l.app_id = %L and l.table_name = %L
              and l.space_id = any (%L)', start, stop, (r.relation).app_id, (r.relation).table_name, r.spaces), r.texts)
        from (select synced as relation, spaces, concat(texts."values", texts.key, matches) as texts
              union all
              select t.synced, t.spaces, 'perch_row.*' from perch.filter_selects(shape_changes.filter, true, true) f
               cross join lateral perch.selected_table(f.found) t) r
       where not perch.is_servers_code(sqlstate) and sqlstate not like 'PE%';
      raise;
  end;
  passed := case when is_whole then greatest(stop, start) else passed end;
  is_end := passed >= head;
  if is_end and not is_marked then
    messages[cardinality(messages)] := perch.marked_last(messages[cardinality(messages)]);
  end if;
  lsn := case when is_end then passed else began end;
  op := passed - lsn;
end
$$;
grant execute on function perch.shape_changes to perch_app;

comment on function perch.shape_changes(text, text, bigint, bigint, jsonb, text[], boolean, bigint, integer,
  integer, pg_snapshot) is
  'What happened after a position to the rows of a synced table that the current user may see and of which the filter is true, for whoever serves shapes: a page of the log, of at most max_count positions and some max_bytes. upto: how far the log had come (null: as far as the user sees). filter, columns: as for perch.shape_rows. since_snapshot: the moment that the first snapshot showed, for filters with sub-selects. whole: whole rows with updates and deletions, and old values. messages: operations of the shape protocol, as JSON; txids: the transaction of each; (lsn, op): where to go on, as after_lsn and after_op; is_end: that is upto. Errors: PE401, PE404 when no such table is synced, PE410 when entries behind the position were forgotten, or the log has not come to it or to upto, PE413, PE422. Example: select * from perch.shape_changes(schema_name => ''public'', table_name => ''orders'', after_lsn => 0);';
