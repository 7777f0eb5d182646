-- perch.shape_changes for many shapes of a table without rules, which differ in their filters and in whose spaces they
-- show: the log is gone through once, and each row rendered once for all whom it concerns. Whose a message is, its
-- space tells (space_ids): whoever asks is to give it to nobody else.
--
-- With the rights of whoever calls: perch_worker sees the log of all. Here the log is read, and the images are given to
-- perch.rendered_changes, which has the rights to evaluate filters, and reads nothing but what it is given.
--
-- What is more than a page is cut for each shape where its page ends: then none is told. Positions are given out in
-- transactions, so a stretch from the end of one to that of another has no half of any.
create or replace function perch.changes_of_shapes(
  schema_name text, relation_name text, app_id text, table_name text, after_position bigint, upto bigint,
  spaces text[], filters jsonb[], columns text[] default null, whole boolean default false,
  max_count integer default 2000, max_bytes integer default 4000000,
  out messages text[], out txids text[], out space_ids text[], out filter_numbers text[], out untried integer[],
  out content text
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  entries record;
begin
  if upto - after_position <= max_count then
    select coalesce(array_agg(l.position order by l.position), '{}') as positions,
           coalesce(array_agg(l.txid order by l.position), '{}') as txids,
           coalesce(array_agg(l.space_id::text order by l.position), '{}') as spaces,
           coalesce(array_agg(l.space_id::text order by l.position) filter (where w.is_ours), '{}') as our_spaces,
           coalesce(array_agg(l.seq order by l.position) filter (where w.is_ours), '{}') as our_seqs
      into entries
      from perch.sync_changes l
     cross join lateral (
       select l.app_id = changes_of_shapes.app_id and l.table_name = changes_of_shapes.table_name
         and l.space_id = any (changes_of_shapes.spaces)) w (is_ours)
     where l.position > after_position and l.position <= upto;
  end if;
  if entries is null
     or perch.images_within(entries.our_spaces, entries.our_seqs, max_bytes) < cardinality(entries.our_seqs) then
    messages := '{}';
    txids := '{}';
    space_ids := '{}';
    filter_numbers := '{}';
    untried := array(select generate_series(1, cardinality(filters)));
    content := perch.shape_content(schema_name, relation_name, spaces, after_position, upto);
    return;
  end if;
  select r.messages, r.txids, array(
           select a.space_id
             from unnest(r.positions) with ordinality p ("position", nth)
             join unnest(entries.positions, entries.spaces) a ("position", space_id) on a.position = p.position
            order by p.nth),
         r.filter_numbers, r.untried, perch.shape_content(schema_name, relation_name, spaces, after_position, upto)
    into messages, txids, space_ids, filter_numbers, untried, content
    from (
      select array_agg(i.position order by i.position) as positions,
             array_agg(i.old_row order by i.position) as old_rows,
             array_agg(i.new_row order by i.position) as new_rows
        from perch.entry_images(entries.our_spaces, entries.our_seqs) i) e
   cross join lateral perch.rendered_changes(schema_name, relation_name, entries.positions, entries.txids,
     coalesce(e.positions, '{}'), coalesce(e.old_rows, '{}'), coalesce(e.new_rows, '{}'), filters,
     changes_of_shapes.columns, whole, max_bytes) r;
end
$$;
grant execute on function perch.changes_of_shapes to perch_worker;

comment on function perch.changes_of_shapes(text, text, text, text, bigint, bigint, text[], jsonb[], text[], boolean,
  integer, integer) is
  'For perch_worker: what perch.shape_changes says of many shapes of a synced table without rules, from one position to another (both ends of transactions), in some spaces. schema_name, relation_name: the table; app_id, table_name: its name in the log. messages: operations of the shape protocol, as JSON, without a mark of the last of a transaction; txids: the transaction of each; space_ids: the space of each, which only those may see who may read it; filter_numbers: which of the filters it concerns, counted from 1, by commas; untried: of which of them it is not said, because they may fail for a row or ask for other tables: of all of them where it is more than a page (max_count positions, max_bytes); content: as perch.open_shape has it, at this moment. Errors: PE404, PE410, PE422. Example: select * from perch.changes_of_shapes(schema_name => ''public'', relation_name => ''orders'', app_id => ''shop'', table_name => ''orders'', after_position => 0, upto => 0, spaces => ''{}'', filters => ''{}'');';
