-- Statements of triggers end before the one that set them off, so what they did was captured before it. What the outer
-- statement did to a row that they touched, too, is put where it belongs: every change of a row goes on from what the
-- one before left. As a rule that is before theirs (they were set off behind the row); or behind, where they made room
-- for it. Where both fit, as for a row that is inserted and deleted again, from one that is deleted and inserted anew,
-- the table is asked which of them it shows.
--
-- What the triggers did is read once, however many rows there are, and only of this table.
create or replace function perch.place_outer(relation oid, ordinal bigint, nested_from bigint, nested_to bigint)
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
declare
  outer_change perch.captured_changes;
  statements bigint[];
  touched record;
  nested perch.captured_changes[];
  places integer[];
  place integer;
  current jsonb;
  has_documents boolean;
begin
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
  has_documents := (perch.document_relation(outer_change.app_id, outer_change.table_name)).relation is not null;
  for touched in
    select o.nth, min(o.twins) as twins, array_agg(x order by x.ordinal, x.nth) as nested
      from (
        select c.nth, c.space_id, c.record_id, count(*) over (partition by c.space_id, c.record_id) as twins
          from perch.captured_changes c where c.ordinal = place_outer.ordinal) o
      join perch.captured_changes x on x.space_id = o.space_id and x.record_id = o.record_id
     where x.ordinal = any (statements)
     group by o.nth order by o.nth
  loop
    select c.* into outer_change
      from perch.captured_changes c where c.ordinal = place_outer.ordinal and c.nth = touched.nth;
    nested := touched.nested;
    if touched.twins > 1 then
      -- What was done to the row before is among them by now.
      nested := array(
        select x from perch.captured_changes x
         where x.ordinal = any (statements) and x.space_id = outer_change.space_id
           and x.record_id = outer_change.record_id
         order by x.ordinal, x.nth);
    end if;
    places := array(
      select p from generate_series(1, cardinality(nested) + 1) p
       where (p = 1 or nested[p - 1].new_row is not distinct from outer_change.old_row)
         and (p > cardinality(nested) or nested[p].old_row is not distinct from outer_change.new_row)
       order by p);
    place := places[1];
    if cardinality(places) > 1 and places[cardinality(places)] > cardinality(nested) then
      execute format('select to_jsonb(t.*) from %s t, jsonb_populate_record(null::%s, $1) k where %s',
        relation::regclass, relation::regclass,
          (select string_agg(format('t.%1$I = k.%1$I', k), ' and ') from unnest(perch.key_columns(relation)) k))
        into current using coalesce(outer_change.new_row, outer_change.old_row);
      if (case when outer_change.new_row is not null then current is not distinct from outer_change.new_row
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
      if has_documents and outer_change.op in ('update', 'delete') and (
        perch.is_row_document(outer_change.space_id, outer_change.app_id, outer_change.table_name,
          outer_change.record_id)
        or current_setting('transaction_isolation') not in ('read committed', 'read uncommitted'))
      then
        perform perch.note_column_write(outer_change, nested[place:]);
      end if;
    end if;
  end loop;
  perform perch.number_first(array[place_outer.ordinal]);
end
$$;

comment on function perch.place_outer(oid, bigint, bigint, bigint) is
  'Private. Puts what a statement did to rows that its triggers wrote as well into the right order with these. nested_from: the first ordinal that a statement of a trigger has; nested_to: one behind the last.';
