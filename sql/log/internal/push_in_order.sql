-- Lock order: none over the whole. A function that is called takes what it likes, so a push with calls is to the order
-- of locks what a transaction of an app with several calls is (docs/architecture.md, "The order of locks"): between two
-- calls documents come before counters, as in any push.
--
-- Rows of synced tables before documents, and both before records.
--
-- A call sees what stands before it in its push, and what stands behind it sees what it did: so they are carried out in
-- their order, and what stands between two calls together.
create or replace function perch.push_in_order(
  changes perch.change[], app_id text, client_id text, author text, now timestamptz, results jsonb[], given jsonb
)
returns jsonb[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  part perch.change[];
  rows perch.change[];
  based perch.change[];
  part_results jsonb[];
  synced constant text[] := array(
    select r.table_name from perch.synced_relations r where r.app_id = push_in_order.app_id);
  written perch.change[];
  seqs bigint[];
  capturing_before constant text := coalesce(current_setting('perch.capturing', true), '');
begin
  -- One place in the log for records that stand before a call, and the rows that this writes.
  if synced <> '{}' and exists (select from unnest(changes) c where c.op = 'call') then
    perform set_config('perch.capturing', 'on', true);
  end if;
  for part in
    select array_agg(s.change order by (s.change).position)
      from (
        select u as change, u.op = 'call' as is_call,
               count(*) filter (where u.op = 'call') over (order by u.position) as calls
          from unnest(changes) u) s
     group by s.calls, s.is_call
     order by min((s.change).position)
  loop
    based := '{}';
    if part[1].op = 'call' then
      results[part[1].position] := perch.push_call(part[1], push_in_order.app_id);
      continue;
    end if;
    rows := array(select c from unnest(part) c where c.table_name = any (synced) order by c.position);
    if rows <> '{}' then
      -- Columns that are documents, based on what they were: patches (perch.check_based_row).
      based := array(
        select c from unnest(rows) c join perch.synced_relations r
            on r.app_id = push_in_order.app_id and r.table_name = c.table_name
         where c.op = 'update' and c.base_seq is not null and r.documents <> '{}'
           and r.documents ?| array(select jsonb_object_keys(c.data)));
      if based <> '{}' then
        rows := array(
          select c from unnest(rows) c
           where c.position <> all (array(select b.position from unnest(based) b)) order by c.position);
      end if;
    end if;
    if rows <> '{}' then
      results := perch.push_rows(rows, push_in_order.app_id, push_in_order.client_id, push_in_order.now, results);
    end if;
    if rows <> '{}' or based <> '{}' then
      part := array(select c from unnest(part) c where c.table_name <> all (synced) order by c.position);
    end if;
    results := perch.push_documents(
      array(select c from unnest(part) c where c.is_document order by c.position) || based,
      push_in_order.app_id, push_in_order.client_id, results, given => push_in_order.given);
    part := array(select c from unnest(part) c where not c.is_document order by c.position);
    if part = '{}' then
      continue;
    end if;
    select w.written, w.seqs, w.results into written, seqs, part_results
      from perch.write_records(part, push_in_order.app_id, push_in_order.client_id, push_in_order.author,
             push_in_order.now, results) w;
    results := part_results;
    for n in 1 .. coalesce(cardinality(written), 0) loop
      results[written[n].position] := perch.applied(written[n].op_id, written[n].space_id, seqs[n]);
    end loop;
  end loop;
  if synced <> '{}' then
    perform set_config('perch.capturing', capturing_before, true);
  end if;
  return results;
end
$$;

comment on function perch.push_in_order(perch.change[], text, text, text, timestamptz, jsonb[], jsonb) is
  'Private. Carries out changes among which there are calls, or rows of synced tables; adds their results.';
