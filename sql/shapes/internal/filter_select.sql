-- Sub-selects are over one other synced table, and see of it what its reader may see: rows in the reader's spaces that
-- the rules show, columns that are hidden from the reader in none of them. Where they may fail they are evaluated on
-- these rows alone (offset 0), as in perch.shape_rows.
--
-- What the rules of that table say has to follow from its row: else a row would come into sight, and with it those of
-- this shape, without an entry in the log.
create or replace function perch.filter_select(node jsonb, columns jsonb, depth integer, context jsonb)
returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  chosen constant record := perch.selected_table(node);
  given constant text[] := perch.filter_list(node -> 1, columns, depth, context - 'positive');
  wanted constant text[] := array(select jsonb_array_elements_text(node -> 4));
  condition constant text := perch.filter_in_sight(chosen.synced, format('(%s) is true',
    case when node -> 5 = 'null' then 'true' else perch.filter_sql(node -> 5, chosen.columns, depth,
      context - 'checked' || '{"positive": true}') end));
  rows text := perch.rows_at(chosen.synced, chosen.spaces, context);
  names text;
begin
  if cardinality(given) <> cardinality(wanted) then
    perform perch.fail('PE422', format('a sub-select has %s columns, where %s are compared', cardinality(wanted),
      cardinality(given)), jsonb_build_object('argument', 'where'),
      'Select as many columns as stand before IN.');
  end if;
  -- What is selected may be compared before anything else of the row is looked at.
  if (chosen.synced).row_filter is not null or not perch.never_fails(node -> 5, chosen.columns) or exists (
    select from unnest(wanted) with ordinality w (name, nth)
     where not perch.is_same_plain(node -> 1 -> (w.nth - 1)::integer, columns, chosen.columns -> w.name))
  then
    rows := format('select * from (%s) t offset 0', rows);
  end if;
  if (context -> 'positive') is null then
    return format('((%s) in (select %s from (%s) perch_row where %s))', array_to_string(given, ', '),
      (select string_agg(format('perch_row.%I', w), ', ') from unnest(wanted) w), rows, condition);
  end if;
  -- True of the same rows, and served by an index of the other table.
  select string_agg(format('perch_row.%I as c%s', w.name, w.nth), ', ' order by w.nth) into names
    from unnest(wanted) with ordinality w (name, nth);
  return format('exists (select from (select %s from (%s) perch_row where %s) perch_set where %s)', names, rows,
    condition, (select string_agg(format('%s = perch_set.c%s', g.text, g.nth), ' and ' order by g.nth)
                  from unnest(given) with ordinality g (text, nth)));
end
$$;

comment on function perch.filter_select(jsonb, jsonb, integer, jsonb) is
  'Private. The text of a sub-select of a filter: ["select", …], for perch.filter_sql. PE404, PE422, PE410 when too much has changed since the moment.';
