create or replace function perch.encrypted_positions(
  space_ids text[], app_ids text[], table_names text[], record_ids text[]
)
returns table (seq bigint, revision bigint)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return query
    select coalesce(d.head_seq, 0), coalesce(d.revision, 0)
      from unnest(space_ids, app_ids, table_names, record_ids) with ordinality
             as k (space_id, app_id, table_name, record_id, nth)
      left join perch.encrypted_documents d
        on d.space_id = k.space_id and d.app_id = k.app_id and d.table_name = k.table_name and d.record_id = k.record_id
     order by k.nth;
end
$$;
grant execute on function perch.encrypted_positions to perch_worker;

comment on function perch.encrypted_positions(text[], text[], text[], text[]) is
  'Private. The positions of many encrypted documents, one array element and one row a document, in their order; 0 for one that is not there.';
