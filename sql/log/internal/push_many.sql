-- Lock order: as perch.push (docs/architecture.md, "The order of locks").
--
-- Everything is checked before anything is claimed, and claimed before anything is written:
-- 1. all changes are checked in one query; when one of them is out of the ordinary, each for itself, which says what is
--    wrong with it;
-- 2. their op_ids are claimed;
-- 3. what is claimed is carried out; the rest was pushed before, and is answered from its receipt.
-- A change that is rejected in 1 claims nothing, so that it may be tried again.
create or replace function perch.push_many(app_id text, changes jsonb, client_id text, now timestamptz)
returns jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  author constant text := perch.require_user();
  synced constant text[] := array(select r.table_name from perch.synced_relations r where r.app_id = push_many.app_id);
  accepted perch.change[];
  fresh perch.change[];
  repeated perch.change[];
  written perch.change[];
  seqs bigint[];
  is_ordinary boolean;
  results jsonb[];
begin
  perform perch.check_push(push_many.app_id, push_many.changes, push_many.client_id);
  -- Holds the table as a reader until the end of the transaction, also when what is read next is undone: see
  -- perch.require_no_records.
  perform from perch.document_tables t where t.app_id = push_many.app_id limit 1;

  select r.accepted, r.is_ordinary into accepted, is_ordinary
    from perch.read_ordinary(push_many.app_id, push_many.changes, now) r;
  if not is_ordinary then
    select r.accepted, r.results into accepted, results
      from perch.check_changes(push_many.app_id, push_many.changes, now) r;
  end if;
  if accepted is null or accepted = '{}' then
    return jsonb_build_object('results', to_jsonb(coalesce(results, '{}')));
  end if;

  select c.fresh, c.repeated into fresh, repeated from perch.claim_changes(accepted, push_many.app_id, now) c;

  if not is_ordinary and exists (select from unnest(fresh) c where c.op = 'call')
     or synced <> '{}' and exists (select from unnest(fresh) c where c.table_name = any (synced))
  then
    results := perch.push_in_order(fresh, push_many.app_id, push_many.client_id, author, now, results,
      given => push_many.changes);
  else
    written := fresh;
    if not is_ordinary and exists (select from unnest(fresh) c where c.is_document) then
      results := perch.push_documents(array(select c from unnest(fresh) c where c.is_document order by c.position),
        push_many.app_id, push_many.client_id, results, given => push_many.changes);
      written := array(select c from unnest(fresh) c where not c.is_document order by c.position);
    end if;
    if written <> '{}' then
      select w.written, w.seqs, w.results into written, seqs, results
        from perch.write_records(written, push_many.app_id, push_many.client_id, author, now, results) w;
      results := array(
        select case when w.position is null then results[n] else perch.applied(w.op_id, w.space_id, w.seq) end
          from generate_series(1, jsonb_array_length(push_many.changes)) n
          left join (
            select c.position, c.op_id, c.space_id, seqs[c.ordinality] as seq
              from unnest(written) with ordinality c) w on w.position = n
         order by n);
    end if;
  end if;
  if repeated <> '{}' then
    results := perch.repeated_results(repeated, fresh, author, results);
  end if;
  return jsonb_build_object('results', to_jsonb(results));
end
$$;

comment on function perch.push_many(text, jsonb, text, timestamptz) is
  'Private. What perch.push does, for any number of changes and any content.';
