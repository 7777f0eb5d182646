-- Where the log has the change, that holds its result; else its receipt does.
create or replace function perch.repeated_results(
  repeated perch.change[], fresh perch.change[], author text, results jsonb[]
)
returns jsonb[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  answer record;
begin
  for answer in
    with known as materialized (
      select c.position, c.op_id, c.space_id, r.digest = c.digest as same, r.result, r.created_at
        from unnest(repeated) c
       cross join lateral (
         select x.digest, x.result, x.created_at from perch.push_receipts x
          where x.space_id = perch.personal_space_id(author) and x.op_id = c.op_id
          limit 1) r
    ),
    logged as (
      select l.op_id, jsonb_build_object('space_id', l.space_id, 'seq', l.seq) as result
        from perch.sync_changes l
       where l.user_id = author and l.created_at = any (array(select distinct k.created_at from known k))
         and l.op_id = any (array(select k.op_id from known k where k.result is null or k.result -> 'seq' = 'null'))
    ),
    answers as (
      select k.position,
             case when k.same then
                    jsonb_build_object('op_id', k.op_id, 'status', 'replayed', 'space_id', k.space_id, 'seq', null)
                      || coalesce((select l.result from logged l where l.op_id = k.op_id limit 1), k.result, '{}')
                  else
                    perch.rejection(k.op_id, k.space_id, 'PE409', 'conflict: this op_id was used for another change',
                      jsonb_build_object('op_id', k.op_id), 'Give each change an op_id of its own.') end as result
        from known k
    )
    -- Whose first was refused while it was written has no receipt, and the same result.
    select c.position, coalesce(a.result, results[f.position]) as result
      from unnest(repeated) c
      left join answers a on a.position = c.position
      left join unnest(fresh) f on f.op_id = c.op_id
  loop
    results[answer.position] := answer.result;
  end loop;
  return results;
end
$$;

comment on function perch.repeated_results(perch.change[], perch.change[], text, jsonb[]) is
  'Private. Adds the results of changes whose op_id was claimed before. fresh: what was carried out of the same push, whose results are there.';
