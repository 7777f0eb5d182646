-- Where a cascade comes to a table in which its query has deleted already, Postgres fires the trigger of all these
-- deletions behind all else that the query did. A row that was deleted and inserted again is captured the
-- other way round then; where it is the same as before, perch.mend_order cannot tell, but the table has it still. So a
-- deletion of what is there is put before the last insertion. There are few statements of one query, so only the last
-- are looked at, or each would cost what all before it wrote.
create or replace function perch.place_deleted(relation oid, ordinal bigint)
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
declare
  deleted record;
begin
  for deleted in
    execute format(
      $sql$with recent as materialized (
             select s.ordinal, s.app_id, s.table_name from perch.captured_changes s
              where s.txid = pg_current_xact_id() and s.nth = 1 and s.ordinal < $1 order by s.ordinal desc limit 20
           ),
           inserted as materialized (
             select i.ordinal, i.space_id, i.record_id, i.new_row
               from recent r
               join perch.captured_changes i on i.ordinal = r.ordinal
               join perch.captured_changes d on d.ordinal = $1 and d.nth = 1
                and d.app_id = r.app_id and d.table_name = r.table_name
              where i.op = 'insert'
           )
           select c.nth, i.ordinal as before
             from perch.captured_changes c
            cross join lateral (
              select max(i.ordinal) as ordinal from inserted i
               where i.space_id = c.space_id and i.record_id = c.record_id and i.new_row = c.old_row) i
            where c.ordinal = $1 and c.op = 'delete' and i.ordinal is not null
              and exists (%s)$sql$,
      perch.row_under_key(relation, 'c.old_row'))
      using place_deleted.ordinal
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
