-- Every table with a space_id counts, whichever are added later. Each is led by space_id, or small. perch.create_space
-- puts the space in the context first, so that the policies show what is in it; the tables that show nobody anything
-- have a policy for this.
--
-- Rows that stood in a table of the app before it was synced have left no trace there, and are in their space all the
-- same: so each synced table is asked for one, as its snapshots do. That costs what a snapshot of an empty space costs:
-- little where there is an index on what says the space, and a reading of the table where there is none. One whose rows
-- are all in another space has none in this.
create or replace function perch.space_in_use(space_id text)
returns boolean
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  place regclass;
  used boolean;
  synced perch.synced_relations;
begin
  for place in
    select c.oid from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'space_id'
      and not a.attisdropped
     where c.relnamespace = 'perch'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
     order by c.relname
  loop
    execute format('select exists (select from %s x where x.space_id = $1)',
      place) into used using space_in_use.space_id;
    if used then
      return true;
    end if;
  end loop;
  for synced in
    select r.* from perch.synced_relations r
     where (r.space_id is null or r.space_id = space_in_use.space_id)
       and exists (select from pg_trigger t join pg_proc p on p.oid = t.tgfoid
                    where t.tgrelid = r.relation and p.pronamespace = 'perch'::regnamespace)
  loop
    -- A table that cannot be asked as a whole, since the expression of the space fails for a row, is asked row by row.
    begin
      execute format('select exists (select from %s t where %s)', synced.relation,
        perch.rows_of_space(synced, space_in_use.space_id, false)) into used using space_in_use.space_id;
    exception when assert_failure or others then
      if synced.space_expression is null or perch.is_servers_code(sqlstate) then
        raise;
      end if;
      execute format('select exists (select from %s t where %s)', synced.relation,
        perch.rows_of_space(synced, space_in_use.space_id, true)) into used using space_in_use.space_id;
    end;
    if used then
      return true;
    end if;
  end loop;
  return false;
end
$$;

comment on function perch.space_in_use(text) is
  'Private. Whether anything at all is there under this space id: for perch.create_space, which puts the space in the context first.';
