-- One transaction for the documents of a space that are behind their records: one commit, and the counter of the space, which all of
-- them need, is taken once, after everything else that has to be waited for. Each by itself, they would hold their documents while
-- they wait for the counter, and for each other's commits.
--
-- Locks, in the order of every writer: all documents, all records, each in the order of their keys, and last the counter of the space.
create or replace function perch.project_documents(
  space_id text, app_ids text[], table_names text[], record_ids text[], seqs bigint[], datas jsonb[], sizes bigint[],
  lock_timeout_ms integer default null
)
returns table (ordinal integer, logged_seq bigint, tail_count bigint, tail_bytes bigint)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
declare
  ignored text;
begin
  if lock_timeout_ms is not null then
    ignored := set_config('lock_timeout', lock_timeout_ms::text, true);
  end if;
  -- One document takes its own locks, in that order.
  if cardinality(app_ids) > 1 then
    perform from unnest(app_ids, table_names, record_ids) as e (app_id, table_name, record_id)
       join perch.documents d
         on d.space_id = project_documents.space_id and d.app_id = e.app_id and d.table_name = e.table_name and d.record_id = e.record_id
      order by d.app_id, d.table_name, d.record_id
        for no key update of d;
    perform from unnest(app_ids, table_names, record_ids) as e (app_id, table_name, record_id)
       join perch.stored_records r
         on r.space_id = project_documents.space_id and r.app_id = e.app_id and r.table_name = e.table_name and r.record_id = e.record_id
      order by r.app_id, r.table_name, r.record_id
        for no key update of r;
  end if;
  for position in 1 .. cardinality(app_ids) loop
    return query
      select position, p.*
        from perch.project_document(space_id => project_documents.space_id, app_id => app_ids[position], table_name => table_names[position],
                                    record_id => record_ids[position], seq => seqs[position], data => datas[position], size => sizes[position]) p;
  end loop;
end
$$;

comment on function perch.project_documents(text, text[], text[], text[], bigint[], jsonb[], bigint[], integer) is
  'For perch_worker: perch.project_document for several documents of a space, in one transaction. The arrays have an element for each: its key, the position that the JSON in datas shows, and the bytes of that as text. lock_timeout_ms: how long to wait for each lock. Returns a row for each document that is still there: its place in the arrays, 1-based, then as perch.project_document.';
