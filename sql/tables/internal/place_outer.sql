-- Statements of triggers end before the one that set them off, so what they did was captured before it. What the outer
-- statement did to a row that they touched, too, is put where it belongs: every change of a row goes on from what the
-- one before left. As a rule that is before theirs (they were set off behind the row); or behind, where they made room
-- for it. Where both fit, as for a row that is inserted and deleted again, from one that is deleted and inserted anew,
-- the table is asked which of them it shows.
--
-- Behind them may come other statements of the same query, of which each may have set them off; or, as nobody can tell,
-- later ones, which go on from what these left, and may have come back to what the triggers found. So once one has come
-- (nested_to), what the table shows as this one left it stays where it is; and nothing else is read, or each would
-- cost what all before it wrote.
--
-- What it wrote to a document is noted here where it is put before them, since perch.note_column_writes does not find
-- it where it was (perch.note_column_write).
create or replace function perch.place_outer(relation oid, ordinal bigint, nested_from bigint, nested_to bigint)
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
declare
  is_later constant boolean := nested_to < ordinal;
  outer_change perch.captured_changes;
  statements bigint[];
  synced perch.synced_relations;
  touched record;
  outer_nth integer;
  nested perch.captured_changes[];
  places integer[];
  place integer;
  current jsonb;
  is_shown boolean;
begin
  if is_later then
    execute format(
      'select not exists (
         select from perch.captured_changes c left join lateral (%s) s on true
          where c.ordinal = $1 and s.row is distinct from c.new_row)',
      perch.row_under_key(relation, 'coalesce(c.new_row, c.old_row)'))
      into is_shown using place_outer.ordinal;
    if is_shown then
      return;
    end if;
  end if;
  select c.* into outer_change from perch.captured_changes c where c.ordinal = place_outer.ordinal and c.nth = 1;
  -- All changes of a statement are of one table.
  statements := array(
    select s.ordinal from perch.captured_changes s
     where s.txid = outer_change.txid and s.nth = 1 and s.ordinal >= place_outer.nested_from
       and s.ordinal < place_outer.nested_to
       and s.app_id = outer_change.app_id and s.table_name = outer_change.table_name);
  if statements = '{}' then
    return;
  end if;
  select r.* into synced from perch.synced_relations r where r.relation = place_outer.relation;
  for touched in
    -- Read once, however many rows there are.
    select c.space_id, c.record_id,
           array_agg(c.nth order by c.nth) filter (where c.ordinal = place_outer.ordinal) as twins,
           array_agg(c.ordinal order by c.ordinal, c.nth) filter (where c.ordinal <> place_outer.ordinal) as ordinals,
           array_agg(c.nth order by c.ordinal, c.nth) filter (where c.ordinal <> place_outer.ordinal) as nths
      from perch.captured_changes c
     where c.ordinal = any (statements || place_outer.ordinal)
     group by c.space_id, c.record_id
    having bool_or(c.ordinal = place_outer.ordinal) and bool_or(c.ordinal <> place_outer.ordinal)
  loop
    foreach outer_nth in array touched.twins loop
      select c.* into outer_change
        from perch.captured_changes c where c.ordinal = place_outer.ordinal and c.nth = outer_nth;
      if outer_nth = touched.twins[1] then
        nested := array(
          select x.change
            from unnest(touched.ordinals, touched.nths) n (ordinal, nth)
           cross join lateral (
             select c as change from perch.captured_changes c where c.ordinal = n.ordinal and c.nth = n.nth offset 0) x
           order by n.ordinal, n.nth);
      else
        -- What was done to the one before is among them by now.
        nested := array(
          select x from perch.captured_changes x
           where x.ordinal = any (statements) and x.space_id = touched.space_id and x.record_id = touched.record_id
           order by x.ordinal, x.nth);
      end if;
      places := array(
        select p from generate_series(1, cardinality(nested) + 1) p
         where (p = 1 or nested[p - 1].new_row is not distinct from outer_change.old_row)
           and (p > cardinality(nested) or nested[p].old_row is not distinct from outer_change.new_row)
         order by p);
      place := places[1];
      if place <= cardinality(nested) and (is_later or places[cardinality(places)] > cardinality(nested)) then
        execute perch.row_under_key(relation, '$1')
          into current using coalesce(outer_change.new_row, outer_change.old_row);
        if (case when outer_change.new_row is not null then current is not distinct from outer_change.new_row
                 -- A row that is in another space now, or in none, is gone from this one.
                 when is_later then current is null or (perch.space_of_rows(synced, array[current]))[1]
                   is distinct from outer_change.space_id
                 else current is distinct from nested[cardinality(nested)].new_row end) then
          place := cardinality(nested) + 1;
        end if;
      end if;
      if place <= cardinality(nested) then
        update perch.captured_changes c
           set ordinal = nested[place].ordinal,
               nth = (select least(min(x.nth), 0) - 1 from perch.captured_changes x
                 where x.ordinal = nested[place].ordinal)
         where c.ordinal = place_outer.ordinal and c.nth = outer_change.nth;
        if synced.documents <> '{}' and outer_change.op in ('update', 'delete') and (
          perch.is_row_document(outer_change.space_id, outer_change.app_id, outer_change.table_name,
            outer_change.record_id)
          or current_setting('transaction_isolation') not in ('read committed', 'read uncommitted'))
        then
          perform perch.note_column_write(outer_change, nested[place:]);
        end if;
      end if;
    end loop;
  end loop;
  perform perch.number_first(array[place_outer.ordinal]);
end
$$;

comment on function perch.place_outer(oid, bigint, bigint, bigint) is
  'Private. Puts what a statement did to rows that its triggers wrote as well into the right order with these. nested_from: the first ordinal that a statement of a trigger has; nested_to: the first behind them.';
