-- Locks, in the order of every writer: receipts (by op_id), documents (by key), the counters of the spaces (by id). Behind the
-- counters nothing waits any more: records are written only by those who hold the counter of their space.
create or replace function perch.push(app_id text, changes jsonb, client_id text)
returns jsonb
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  author constant text := perch.require_user();
  personal constant text := perch.personal_space_id(author);
  max_count constant bigint := perch.setting('max_changes_per_push', 10000);
  now constant timestamptz := clock_timestamp();
  results jsonb[];
  read perch.change;
  accepted perch.change[] := '{}';
  documents perch.change[];
  plain perch.change[];
  claimed text[];
  fresh integer[];
  code text;
  message text;
  details text;
  change jsonb;
  place integer := 0;
begin
  perform perch.check_id(push.app_id, 'app_id', 64);
  if push.client_id is not null then
    perform perch.check_id(push.client_id, 'client_id');
  end if;
  if jsonb_typeof(push.changes) is distinct from 'array' then
    perform perch.fail('PE422', 'changes is not an array',
      jsonb_build_object('argument', 'changes', 'expected', 'array', 'got', coalesce(jsonb_typeof(push.changes), 'null')));
  end if;
  if jsonb_array_length(push.changes) > max_count then
    perform perch.fail('PE413', format('more than %s changes in one push', max_count),
      jsonb_build_object('limit', 'max_changes_per_push', 'max', max_count, 'got', jsonb_array_length(push.changes)));
  end if;

  for change in select c from jsonb_array_elements(push.changes) c loop
    place := place + 1;
    begin
      accepted := accepted || perch.read_change(change, place, push.app_id, now);
    exception when sqlstate 'PE403' or sqlstate 'PE413' or sqlstate 'PE422' then
      get stacked diagnostics code = returned_sqlstate, message = message_text, details = pg_exception_detail;
      results[place] := jsonb_build_object(
        'op_id', case when jsonb_typeof(change -> 'op_id') = 'string' then left(change ->> 'op_id', 256) end,
        'status', 'rejected', 'space_id', case when jsonb_typeof(change -> 'space_id') = 'string' then left(change ->> 'space_id', 256) end,
        'seq', null, 'error', jsonb_build_object('code', code, 'message', message, 'detail', details::jsonb));
    end;
  end loop;

  -- Of two transactions with the same op_id at once, the second waits here until the first has committed (and then finds its
  -- receipt) or rolled back (and then claims the op_id itself).
  with claims as (
    insert into perch.push_receipts (space_id, op_id, digest, created_at)
    select distinct on (c.op_id) personal, c.op_id, c.digest, now
      from unnest(accepted) c where c.op_id is not null order by c.op_id, c.position
    on conflict on constraint push_receipts_pkey do nothing
    returning op_id
  )
  select coalesce(array_agg(c.op_id), '{}') into claimed from claims c;
  select coalesce(array_agg(p), '{}') into fresh from (
    select c.position as p from unnest(accepted) c where c.op_id is null
    union all
    select min(c.position) from unnest(accepted) c where c.op_id = any (claimed) group by c.op_id) f;

  -- Documents: their changes are patches, which the worker merges, and deletions.
  select array_agg(c order by c.position) into documents
    from unnest(accepted) c where c.is_document and c.position = any (fresh);
  if documents is not null then
    select results_of into results from perch.push_documents(documents, push.app_id, push.client_id, results) results_of;
  end if;

  select array_agg(c order by c.position) into plain
    from unnest(accepted) c where not c.is_document and c.position = any (fresh);
  if plain is not null then
    plain := perch.log_changes(plain, push.app_id, push.client_id, author, now);
    foreach read in array plain loop
      results[read.position] := jsonb_build_object('op_id', read.op_id, 'status', 'applied', 'space_id', read.space_id, 'seq', read.base_seq);
    end loop;
  end if;

  -- What this user pushed before, here or in another transaction.
  for change in
    select jsonb_build_object('position', c.position, 'result', case when r.digest = c.digest
             then jsonb_build_object('op_id', c.op_id, 'status', 'replayed') || coalesce(r.result, (
                    select jsonb_build_object('space_id', l.space_id, 'seq', l.seq) from perch.sync_changes l
                     where l.user_id = author and l.created_at = r.created_at and l.op_id = r.op_id))
             else jsonb_build_object('op_id', c.op_id, 'status', 'rejected', 'space_id', c.space_id, 'seq', null, 'error', jsonb_build_object(
                    'code', 'PE409', 'message', 'conflict: this op_id was used for another change', 'detail', jsonb_build_object('op_id', c.op_id)))
             end)
      from unnest(accepted) c
      join perch.push_receipts r on r.space_id = personal and r.op_id = c.op_id
     where c.position <> all (fresh)
  loop
    results[(change ->> 'position')::int] := change -> 'result';
  end loop;
  return jsonb_build_object('results', to_jsonb(coalesce(results, '{}')));
end
$$;

comment on function perch.push(text, jsonb, text) is
  'Appends changes to the log and folds them into their records, as the current user. Changes: [{"op": "insert|update|delete", "table": "tasks", "id": "t1", "data": {…}, "field_meta": {"title": "2026-01-01T10:00:00.000Z"}, "at": "2026-01-01T10:00:00Z", "op_id": "…", "space_id": "…", "schema_version": 1, "base_seq": 41, "actor": {…}, "origin": "user"}]; only op, table and id are required.';
