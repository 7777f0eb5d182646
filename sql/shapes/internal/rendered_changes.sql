-- It reads nothing but what it is given: of the log all positions and transactions of a stretch, and of some entries
-- (in that order) their images. A filter that may fail for a row would be the fault of all: it is not tried.
create or replace function perch.rendered_changes(
  schema_name text, relation_name text, all_positions bigint[], all_txids xid8[], entries bigint[], old_rows jsonb[],
  new_rows jsonb[], filters jsonb[], columns text[], whole boolean, max_bytes integer,
  out messages text[], out positions bigint[], out txids text[], out filter_numbers text[], out untried integer[]
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
  synced constant perch.synced_relations := perch.open_relation(rendered_changes.schema_name,
    rendered_changes.relation_name);
  all_columns constant jsonb := perch.shape_columns(synced, '{}');
  texts constant record := perch.shape_texts(synced, '{}', null, rendered_changes.columns, null);
  matches text;
  entry_txids xid8[];
  -- Where the transaction of each begins; of one whose entries are not one behind the other, that part of it.
  begins bigint[];
  bytes bigint := 0;
  entry record;
begin
  messages := '{}';
  positions := '{}';
  txids := '{}';
  filter_numbers := '{}';
  select coalesce(array_agg(f.nth::integer) filter (where not f.is_safe), '{}'),
         format('array[%s]::boolean[]', string_agg(
           case when f.is_safe then perch.filter_text(f.filter, all_columns) else 'null' end, ', ' order by f.nth))
    into untried, matches
    from (select l.*, perch.never_fails(l.filter, all_columns) as is_safe
            from unnest(filters) with ordinality l (filter, nth) offset 0) f;
  if cardinality(entries) = 0 or cardinality(untried) = cardinality(filters) then
    return;
  end if;
  select array_agg(a.txid order by a.position), array_agg(a.began order by a.position)
    into entry_txids, begins
    from (select b.position, b.txid,
                 max(b.position) filter (where b.is_first) over (order by b.position) as began
            from (select p.position, p.txid,
                         p.txid is distinct from lag(p.txid) over (order by p.position) as is_first
                    from unnest(all_positions, all_txids) p ("position", txid)) b) a
   where a.position = any (entries);
  for entry in
    execute format('select c.*, b.began from (%s) c join unnest($1, $5) b ("position", began) on b.position = c.position
                     order by c.position',
      perch.shape_changes_query(synced, 'select e.* from unnest($1, $2, $3, $4) e ("position", txid, old_row, new_row)',
        texts.values, texts.key, matches, matches, texts.keys, whole))
      using entries, entry_txids, old_rows, new_rows, begins
  loop
    continue when entry.operation is null;
    messages := messages || perch.operation_message(entry.operation, entry.key, entry.value, entry.old_value,
      texts.headers, (entry.txid::text::numeric % 4294967296)::text, entry.began, entry.position - entry.began);
    positions := positions || entry.position;
    txids := txids || entry.txid::text;
    filter_numbers := filter_numbers || array_to_string(entry.filters, ',');
    bytes := bytes + octet_length(messages[cardinality(messages)]);
    if bytes > max_bytes then
      messages := '{}';
      positions := '{}';
      txids := '{}';
      filter_numbers := '{}';
      untried := array(select generate_series(1, cardinality(filters)));
      return;
    end if;
  end loop;
end
$$;
grant execute on function perch.rendered_changes to perch_worker;

comment on function perch.rendered_changes(text, text, bigint[], xid8[], bigint[], jsonb[], jsonb[], jsonb[], text[],
  boolean, integer) is
  'Private. The messages for shapes of a synced table without rules, of entries of the log with these images; for perch.changes_of_shapes, which has the shapes of its answers.';
