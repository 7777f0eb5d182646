-- Planned for each call: a plan that was made while the log was empty would be kept, and which of its indexes to read
-- cannot be told of an empty table. So these statements are short. What is captured is read a space at a time and
-- joined by hashes, so that many changes, of one space as a rule, do not each read all that waits there.
--
-- Of each row the log has an index, which holds the id where it is short, and its beginning where it is not: an index
-- takes no longer key. Both conditions are such as Postgres lets come before those of a policy (leakproof); a number
-- made of the id would not be, and all that was written to the table in the space would be read, for each row.
--
-- Stable: both see what the statement sees that calls it.
create or replace function perch.plain_writes(app_id text, table_name text, space_ids text[], record_ids text[])
returns table (nth bigint, op text, at timestamptz, old_row jsonb, written jsonb)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_nestloop = off
set jit = off
as $$
begin
  return query execute
    'select a.nth, l.op, l.created_at, null::jsonb, l.data
       from unnest($3, $4) with ordinality a (space_id, record_id, nth)
      cross join lateral (
        select x.op, x.created_at, x.data from perch.sync_changes x
         where x.space_id = a.space_id and x.app_id = $1 and x.table_name = $2 and x.record_id = a.record_id
           and octet_length(x.record_id) <= 255 and x.position is not null and x.op_id is null
         order by x.seq desc limit 10000) l
      where octet_length(a.record_id) <= 255'
    using app_id, table_name, space_ids, record_ids;
  if exists (select from unnest(record_ids) r where octet_length(r) > 255) then
    return query execute
      'select a.nth, l.op, l.created_at, null::jsonb, l.data
         from unnest($3, $4) with ordinality a (space_id, record_id, nth)
        cross join lateral (
          select x.op, x.created_at, x.data from perch.sync_changes x
           where x.space_id = a.space_id and x.app_id = $1 and x.table_name = $2
             and x.record_id::name = a.record_id::name and x.record_id = a.record_id
             and octet_length(x.record_id) > 255 and x.position is not null and x.op_id is null
           order by x.seq desc limit 10000) l
        where octet_length(a.record_id) > 255'
      using app_id, table_name, space_ids, record_ids;
  end if;
  return query execute
    'select a.nth, c.op, c.captured_at, c.old_row, c.new_row
       from perch.captured_changes c
       join unnest($3, $4) with ordinality a (space_id, record_id, nth)
         on a.space_id = c.space_id and a.record_id = c.record_id
      where c.space_id = any ($6) and c.txid >= $5 and c.app_id = $1 and c.table_name = $2 and c.op_id is null'
    using app_id, table_name, space_ids, record_ids, (select w from perch.waits_from() w),
      array(select distinct s from unnest(space_ids) s);
end
$$;

comment on function perch.plain_writes(text, text, text[], text[]) is
  'Private. Of rows of a synced table, by their place in the lists: what was written to them without an op_id, in the log or still waiting for its number. written: the columns that were, with their values; where old_row is not null all columns, before and after.';
