-- A row that did not change itself comes into a shape, or leaves it, only where what it compares with a sub-select is
-- among the values that came or went there. Of the other table's rows that changed it is known whether each gave a
-- value before, and gives one now. Those whom a further sub-select shows otherwise than before may.
--
-- Under NOT it matters whether IN is false or null as well: then a null on either side is enough.
create or replace function perch.filter_moved(
  filter jsonb, columns jsonb, before jsonb, after jsonb, out condition text, out is_safe boolean
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  part record;
  chosen record;
  further record;
  names text[];
  listed text;
  was text;
  became text;
  moved text;
begin
  is_safe := true;
  for part in select s.found as node, s.is_plain from perch.filter_selects(filter, true) s loop
    chosen := perch.selected_table(part.node);
    names := array(select format('perch_row.%I', n) from jsonb_array_elements_text(part.node -> 4) n);
    listed := array_to_string(names, ', ');
    further := perch.filter_moved(part.node -> 5, chosen.columns, before, after);
    was := perch.filter_in_sight(chosen.synced, perch.filter_text(part.node -> 5, chosen.columns, before));
    became := perch.filter_in_sight(chosen.synced, perch.filter_text(part.node -> 5, chosen.columns, after));
    moved := format(
      $f$select v.* from (%1$s) n
           left join lateral (
             select true as given, row(%2$s)::text as value from %3$s
              where case when n.old_row is not null then %4$s end) b on true
           left join lateral (
             select true as given, row(%2$s)::text as value from %6$s
              where case when n.new_row is not null then %5$s end) a on true
          cross join lateral (
            select %2$s from %3$s where b.given
            union all
            select %2$s from %6$s where a.given) v
          where (a.given, a.value) is distinct from (b.given, b.value)$f$,
      perch.net_changes(chosen.synced, chosen.spaces, before, after), listed,
      perch.image_row((chosen.synced).relation, 'n.old_row', concat(listed, was)), was, became,
      perch.image_row((chosen.synced).relation, 'n.new_row', concat(listed, became)));
    if further.condition is not null then
      moved := concat(moved, ' union all select ', listed, ' from (select * from (',
        perch.rows_at(chosen.synced, chosen.spaces, after),
        case when further.is_safe then ') t' else ') t offset 0' end, ') perch_row where ',
        perch.filter_in_sight(chosen.synced, further.condition));
    end if;
    condition := concat(condition || ' or ', '(',
      array_to_string(perch.filter_list(part.node -> 1, columns, 0, null), ', '), ') in (', moved, ')',
      case when not part.is_plain then ' is not false' end);
    is_safe := is_safe and not exists (
      select from jsonb_array_elements(part.node -> 1) with ordinality g (value, nth)
       where not perch.is_same_plain(g.value, columns, chosen.columns -> (part.node -> 4 ->> (g.nth - 1)::integer)));
  end loop;
end
$$;

comment on function perch.filter_moved(jsonb, jsonb, jsonb, jsonb) is
  'Private. The condition that a filter may show a row perch_row otherwise than before, for what happened to the tables of its sub-selects between two moments ({"position", "snapshot"}); null: it has none. is_safe: it fails for no row.';
