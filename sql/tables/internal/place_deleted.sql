-- Where a cascade comes to a table in which its query has deleted already, Postgres fires the trigger of all these
-- deletions behind all else that the query did. A row that was deleted and inserted again is captured the
-- other way round then; where it is the same as before, perch.mend_order cannot tell, but the table has it still. So a
-- deletion of what is there is put before the last insertion. There are few statements of one query, so only the last
-- are looked at, or each would cost what all before it wrote; and only where some of what was deleted is there. What
-- they have in common is found all at once, by their keys (enable_nestloop).
create or replace function perch.place_deleted(relation oid, ordinal bigint)
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_nestloop = off
set jit = off
as $$
declare
  still_there integer[];
  deleted record;
begin
  execute format(
    $sql$select array_agg(c.nth) from perch.captured_changes c
          where c.ordinal = $1 and c.op = 'delete' and exists (%s)$sql$, perch.row_under_key(relation, 'c.old_row'))
    into still_there using place_deleted.ordinal;
  if still_there is null then
    return;
  end if;
  for deleted in
    with recent as materialized (
      select s.ordinal from perch.captured_changes s
       where s.txid = pg_current_xact_id() and s.nth = 1 and s.ordinal < place_deleted.ordinal
       order by s.ordinal desc limit 20
    ),
    gone as materialized (
      select c.* from perch.captured_changes c
       where c.ordinal = place_deleted.ordinal and c.nth = any (still_there)
    )
    select g.nth, max(i.ordinal) as before
      from gone g
      join perch.captured_changes i
        on i.app_id = g.app_id and i.table_name = g.table_name and i.space_id = g.space_id
       and i.record_id = g.record_id and i.new_row = g.old_row
     where i.op = 'insert' and i.ordinal = any (array(select r.ordinal from recent r))
     group by g.nth
  loop
    update perch.captured_changes c
       set ordinal = deleted.before,
           nth = (select least(min(x.nth), 0) - 1 from perch.captured_changes x where x.ordinal = deleted.before)
     where c.ordinal = place_deleted.ordinal and c.nth = deleted.nth;
  end loop;
  perform perch.number_first(array[place_deleted.ordinal]);
end
$$;

comment on function perch.place_deleted(oid, bigint) is
  'Private. Puts what a statement deleted, and what is there all the same, before what inserted it again. ordinal: that of the statement, captured by its trigger.';
