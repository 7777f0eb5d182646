-- All of it is told as the doing of the last transaction of the stretch, in no order: a row comes once.
--
-- What each row was at both ends is sought among all that it was meanwhile (perch.net_changes), which is held for that
-- together: so it is measured before, as it is when it is unpacked.
create or replace function perch.moved_messages(
  synced perch.synced_relations, spaces text[], filter jsonb, columns text[], whole boolean, before jsonb, after jsonb,
  out messages text[], out lsn bigint, out txid xid8
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  max_bytes constant integer := 32000000;
  max_image_bytes constant bigint := 67108864;
  texts constant record := perch.shape_texts(synced, spaces, filter, columns, after);
  was constant record := perch.shape_texts(synced, spaces, filter, columns, before);
  start constant bigint := (before ->> 'position')::bigint;
  stop constant bigint := (after ->> 'position')::bigint;
  space_ids text[];
  seqs bigint[];
  txids text;
  greatest_txid numeric;
  bytes bigint := 0;
  entry record;
begin
  messages := '{}';
  select array_agg(l.space_id order by l.position), array_agg(l.seq order by l.position)
    into space_ids, seqs
    from perch.sync_changes l
   where l.position > start and l.position <= stop and exists (
     select from (select moved_messages.synced as relation, moved_messages.spaces as spaces
                  union all
                  select t.synced, t.spaces from perch.filter_selects(filter, true, true) f
                    cross join lateral perch.selected_table(f.found) t) r
      where (r.relation).app_id = l.app_id and (r.relation).table_name = l.table_name and l.space_id = any (r.spaces));
  if perch.images_within(space_ids, seqs, max_image_bytes) < cardinality(seqs) then
    perform perch.fail('PE410', 'more has changed in rows than is looked at together',
      jsonb_build_object('position', start), 'Fetch the shape from its beginning: offset -1, without a handle.');
  end if;
  select l.txid into txid from perch.sync_changes l where l.position <= stop order by l.position desc limit 1;
  select coalesce(max(l.position), start) + 1 into lsn
    from perch.sync_changes l where l.position > start and l.position <= stop and l.txid <> moved_messages.txid;
  -- Whoever waits for a transaction finds it on the first of them, be it the last of the stretch or not.
  select string_agg((t.txid::text::numeric % 4294967296)::text, ',' order by t.txid),
         max(t.txid::text::numeric) % 4294967296
    into txids, greatest_txid
    from (select distinct l.txid from perch.sync_changes l
           where l.position > start and l.position <= stop
             and not pg_visible_in_snapshot(l.txid, (after ->> 'snapshot')::pg_snapshot)) t;
  for entry in execute perch.shape_changes_query(synced,
    perch.shape_moves(synced, spaces, filter, perch.shape_columns(synced, spaces), before, after),
    texts.values, texts.key, format('array[%s]', was.condition), format('array[%s]', texts.condition),
    texts.keys, whole)
  loop
    continue when entry.operation is null;
    messages := messages || perch.operation_message(entry.operation, entry.key, entry.value, entry.old_value,
      texts.headers, case cardinality(messages) when 0 then txids else greatest_txid::text end, lsn,
      cardinality(messages));
    bytes := bytes + octet_length(messages[cardinality(messages)]);
    if bytes > max_bytes then
      perform perch.fail('PE410', 'more rows have moved than an answer holds', jsonb_build_object('position', start),
        'Fetch the shape from its beginning: offset -1, without a handle.');
    end if;
  end loop;
  if cardinality(messages) > 0 then
    messages[cardinality(messages)] := perch.marked_last(messages[cardinality(messages)]);
  end if;
end
$$;

comment on function perch.moved_messages(
  perch.synced_relations, text[], jsonb, text[], boolean, jsonb, jsonb) is
  'Private. The operations by which a shape differs between two moments ({"position", "snapshot"}), in the first of which the reader stands: a stretch of the log in which tables of the filter''s sub-selects changed. PE410 when they are too many.';
