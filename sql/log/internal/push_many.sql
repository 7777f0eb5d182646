-- Lock order: as perch.push (docs/architecture.md, "The order of locks").
--
-- Everything is checked before anything is claimed, and claimed before the counters are taken (see perch.push for the order of locks):
-- 1. all changes are checked in one query; when one of them is out of the ordinary, each for itself, which says what is wrong with it;
-- 2. their op_ids are claimed, in their order: of two transactions with the same op_id at once, the second waits here until the first
--    has committed (and then finds its receipt) or rolled back (and then claims the op_id itself);
-- 3. what is claimed is written; the rest was pushed before, and is answered from its receipt.
-- A change that is rejected in 1 claims nothing, so that it may be tried again.
create or replace function perch.push_many(app_id text, changes jsonb, client_id text, now timestamptz)
returns jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  author constant text := perch.require_user();
  personal constant text := perch.personal_space_id(author);
  max_count constant bigint := perch.setting('max_changes_per_push', 10000);
  max_bytes constant bigint := perch.setting('max_change_bytes', 1048576);
  known constant text[] := '{op,table,id,data,field_meta,at,op_id,space_id,schema_version,base_seq,actor,origin}';
  horizon constant timestamptz := now + perch.clock_tolerance();
  synced constant text[] := array(select r.table_name from perch.synced_relations r where r.app_id = push_many.app_id);
  accepted perch.change[];
  fresh perch.change[];
  seqs bigint[];
  ordinary boolean;
  op_ids bigint;
  claimed text[];
  fresh_positions integer[];
  results jsonb[];
begin
  perform perch.check_id(push_many.app_id, 'app_id', 64);
  if push_many.client_id is not null then
    perform perch.check_id(push_many.client_id, 'client_id');
  end if;
  if jsonb_typeof(push_many.changes) is distinct from 'array' then
    perform perch.fail('PE422', 'changes is not an array',
      jsonb_build_object('argument', 'changes', 'expected', 'array', 'got', coalesce(jsonb_typeof(push_many.changes), 'null')));
  end if;
  if jsonb_array_length(push_many.changes) > max_count then
    perform perch.fail('PE413', format('more than %s changes in one push', max_count),
      jsonb_build_object('limit', 'max_changes_per_push', 'max', max_count, 'got', jsonb_array_length(push_many.changes)));
  end if;

  -- Holds the table as a reader until the end of the transaction, also when the next block is undone: see perch.require_no_records.
  perform from perch.document_tables t where t.app_id = push_many.app_id limit 1;
  begin
    select array_agg(row(c.position, c.space_id, c.table_name, c.record_id, c.op, c.data, c.field_meta, c.at, c.timeless,
             c.earliest, c.latest, c.op_id, c.digest, c.schema_version, null, c.actor, c.origin, c.size, false)::perch.change order by c.position),
           bool_and(c.ordinary)
      into accepted, ordinary
      from (
        select e.position, s.space_id, e.change ->> 'table' as table_name, e.change ->> 'id' as record_id, e.change ->> 'op' as op,
               case when e.change ->> 'op' <> 'delete' then coalesce(e.change -> 'data', '{}') end as data,
               f.field_meta, coalesce(t.at, now + e.position * interval '1 microsecond') as at, t.at is null as timeless,
               least(t.at, f.earliest) as earliest, greatest(t.at, f.latest) as latest,
               e.change ->> 'op_id' as op_id,
               case when s.said is not null then
                 perch.change_digest(push_many.app_id, s.space_id, s.said, s.given_at, f.field_times) end as digest,
               coalesce((e.change ->> 'schema_version')::integer, 1) as schema_version,
               e.change -> 'actor' as actor, e.change ->> 'origin' as origin,
               case when octet_length(s.content) > 2000 then octet_length(s.content) end as size,
               -- perch.read_change in one expression, without its messages: true only where that has nothing to say, which a test sees to.
               -- (base_revision, of documents alone, is not among the known keys here.)
               coalesce(octet_length(s.content) <= max_bytes
                 and e.change - known = '{}'
                 and case e.change ->> 'op' when 'delete' then not e.change ?| '{data,field_meta}'
                                            when 'insert' then true when 'update' then true else false end
                 and jsonb_typeof(e.change -> 'table') = 'string' and jsonb_typeof(e.change -> 'id') = 'string'
                 and octet_length(e.change ->> 'table') between 1 and 128 and octet_length(e.change ->> 'id') between 1 and 256
                 and concat(e.change ->> 'table', e.change ->> 'id', e.change ->> 'op_id', e.change ->> 'origin') !~ E'[\\x01-\\x1f\\x7f]'
                 and (not e.change ? 'data' or jsonb_typeof(e.change -> 'data') = 'object')
                 and (not e.change ? 'op_id'
                      or jsonb_typeof(e.change -> 'op_id') = 'string' and octet_length(e.change ->> 'op_id') between 1 and 256)
                 and (not e.change ? 'at' or s.given_at is not null)
                 and (not e.change ? 'field_meta' or f.ordinary or f.count = 0)
                 and (not e.change ? 'space_id' or jsonb_typeof(e.change -> 'space_id') = 'string'
                      and e.change ->> 'space_id' = any ((select perch.writable_space_ids())::text[]))
                 and (not e.change ?| '{schema_version,base_seq,actor,origin}'
                      or (not e.change ? 'schema_version'
                          or e.change ->> 'schema_version' ~ '^[1-9][0-9]{0,8}$' and jsonb_typeof(e.change -> 'schema_version') = 'number')
                         and not e.change ? 'base_seq'
                         and (not e.change ? 'actor' or jsonb_typeof(e.change -> 'actor') = 'object')
                         and (not e.change ? 'origin'
                              or jsonb_typeof(e.change -> 'origin') = 'string' and octet_length(e.change ->> 'origin') between 1 and 256))
                 and (pg_column_size(e.change) <= 800 or not jsonb_path_exists(e.change, '$.**{100}'))
                 and (octet_length(s.content) <= 300 or s.content !~ '[0-9]{255}')
                 and (special.versions is null or not special.versions ? (e.change ->> 'table')
                      or special.versions -> (e.change ->> 'table') = coalesce(e.change -> 'schema_version', '1')), false) as ordinary
          from jsonb_array_elements(push_many.changes) with ordinality e (change, position)
          -- Documents, and changes that have to be lifted, are out of the ordinary.
          cross join (
            select jsonb_object_agg(t.table_name, t.version) from (
              select d.table_name, 0 from perch.document_tables d where d.app_id = push_many.app_id
              union all
              select d.table_name, 0 from perch.encrypted_tables d where d.app_id = push_many.app_id
              union all
              select v.table_name, v.current_version from perch.schema_versions v where v.app_id = push_many.app_id) t (table_name, version)
            ) special (versions)
          -- Offset 0: else each use of these would make them anew.
          cross join lateral (
            select case when pg_column_size(e.change) <= max_bytes * 8 then e.change::text end as content,
                   coalesce(e.change ->> 'space_id', personal) as space_id,
                   case when e.change ? 'op_id' then perch.change_content(e.change) end as said,
                   case when perch.is_time(e.change ->> 'at') and right(e.change ->> 'at', 1) = 'Z' then (e.change ->> 'at')::timestamptz end as given_at
            offset 0) s
          left join lateral (
            select jsonb_object_agg(m.key, perch.time_text(least(m.given_at, horizon))) as field_meta,
                   least(min(m.given_at), horizon) as earliest, least(max(m.given_at), horizon) as latest,
                   jsonb_object_agg(m.key, perch.time_text(m.given_at)) filter (where s.said is not null) as field_times,
                   bool_and(m.given_at is not null and (e.change -> 'data') ? m.key) as ordinary, count(*) as count
              from (select w.key, case when perch.is_time(w.value) and right(w.value, 1) = 'Z' then w.value::timestamptz end as given_at
                      from jsonb_each_text(e.change -> 'field_meta') w offset 0) m
            ) f on e.change ? 'field_meta'
          cross join lateral (
            select case when e.change ? 'at' then least(s.given_at, horizon)
                        -- Every field says when it was written.
                        when f.count > 0 and e.change ->> 'op' = 'update'
                             and f.count = (select count(*) from jsonb_object_keys(e.change -> 'data')) then f.latest end) t (at)
      ) c;
  exception when data_exception or program_limit_exceeded then
    ordinary := false;
  end;

  if not ordinary then
    select r.accepted, r.results into accepted, results from perch.check_changes(push_many.app_id, push_many.changes, now) r;
  end if;
  if accepted is null or accepted = '{}' then
    return jsonb_build_object('results', to_jsonb(coalesce(results, '{}')));
  end if;

  select count(c.op_id) into op_ids from unnest(accepted) c;
  fresh := accepted;
  if op_ids > 0 then
    with claims as (
      insert into perch.push_receipts (space_id, op_id, digest, created_at, result)
      select personal, c.op_id, c.digest, now,
             -- Of a row the result is known; it has no number that the log would tell.
             case when c.table_name = any (synced) and c.op <> 'call' then
               jsonb_build_object('space_id', c.space_id, 'seq', null, 'txid', pg_current_xact_id()::text) end
        from unnest(accepted) c where c.op_id is not null order by c.op_id, c.position
      on conflict on constraint push_receipts_pkey do nothing
      returning op_id
    )
    select coalesce(array_agg(c.op_id), '{}') into claimed from claims c;
    if cardinality(claimed) < op_ids then
      fresh_positions := array(
        select c.position from unnest(accepted) c where c.op_id is null
        union all
        select min(c.position) from unnest(accepted) c where c.op_id = any (claimed) group by c.op_id);
      fresh := array(select c from unnest(accepted) c where c.position = any (fresh_positions) order by c.position);
    end if;
  end if;

  if not ordinary and exists (select from unnest(fresh) c where c.op = 'call')
     or synced <> '{}' and exists (select from unnest(fresh) c where c.table_name = any (synced))
  then
    results := perch.push_in_order(fresh, push_many.app_id, push_many.client_id, author, now, results,
      given => push_many.changes);
    fresh := '{}';
  elsif not ordinary and exists (select from unnest(fresh) c where c.is_document) then
    results := perch.push_documents(array(select c from unnest(fresh) c where c.is_document order by c.position),
      push_many.app_id, push_many.client_id, results,
      also_spaces => array(select c.space_id from unnest(fresh) c where not c.is_document), given => push_many.changes);
    fresh := array(select c from unnest(fresh) c where not c.is_document order by c.position);
  end if;

  if cardinality(fresh) > 0 then
    select w.written, w.seqs, w.results into fresh, seqs, results
      from perch.write_records(fresh, push_many.app_id, push_many.client_id, author, now, results) w;
    if cardinality(fresh) = jsonb_array_length(push_many.changes) then
      return jsonb_build_object('results', (
        select jsonb_agg(jsonb_build_object('op_id', c.op_id, 'status', 'applied', 'space_id', c.space_id, 'seq', seqs[c.position]) order by c.position)
          from unnest(fresh) c));
    end if;
    select array_agg(case when f.position is null then results[n]
             else jsonb_build_object('op_id', f.op_id, 'status', 'applied', 'space_id', f.space_id, 'seq', f.seq) end order by n)
      into results
      from generate_series(1, jsonb_array_length(push_many.changes)) n
      left join (
        select c.position, c.op_id, c.space_id, c.seq
          from unnest(fresh, seqs) as c (position, space_id, table_name, record_id, op, data, field_meta, at, timeless, earliest, latest,
               op_id, digest, schema_version, base_seq, actor, origin, size, is_document, seq)) f on f.position = n;
  end if;

  -- What this user pushed before, here or in another transaction. Where the log still has it, that holds the result.
  if fresh_positions is not null then
    with repeated as materialized (
      select c.position, c.op_id, c.space_id, r.digest = c.digest as same, r.result, r.created_at
        from unnest(accepted) c
        join perch.push_receipts r on r.space_id = personal and r.op_id = c.op_id
       where c.position <> all (fresh_positions)
    ),
    logged as (
      select l.op_id, jsonb_build_object('space_id', l.space_id, 'seq', l.seq) as result
        from perch.sync_changes l
       where l.user_id = author and l.created_at = any (array(select distinct r.created_at from repeated r))
         and l.op_id = any (array(select r.op_id from repeated r))
    ),
    answers as (
      select r.position,
             case when r.same then jsonb_build_object('op_id', r.op_id, 'status', 'replayed', 'space_id', r.space_id, 'seq', null)
                                   || coalesce(r.result, (select l.result from logged l where l.op_id = r.op_id limit 1), '{}')
                  else jsonb_build_object('op_id', r.op_id, 'status', 'rejected', 'space_id', r.space_id, 'seq', null, 'error', jsonb_build_object(
                         'code', 'PE409', 'message', 'conflict: this op_id was used for another change',
                         'detail', jsonb_build_object('op_id', r.op_id))) end as answer
        from repeated r
    )
    -- Whose first was refused while it was written has no receipt, and the same result.
    select array_agg(coalesce(a.answer, results[n], (
             select results[c.position] from unnest(accepted) c
              where c.op_id = push_many.changes -> (n - 1) ->> 'op_id' and results[c.position] is not null
              order by c.position limit 1)) order by n) into results
      from generate_series(1, jsonb_array_length(push_many.changes)) n left join answers a on a.position = n;
  end if;
  return jsonb_build_object('results', to_jsonb(results));
end
$$;

comment on function perch.push_many(text, jsonb, text, timestamptz) is
  'Private. What perch.push does, for any number of changes and any content.';
