-- The record is the document's projection: of one that nobody edits it is up to date, and goes out as the database
-- wrote it.
create or replace function perch.current_document(app_id text, table_name text, record_id text,
  space_id text default null)
returns table (in_space text, seq bigint, revision bigint, data text)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
rows 1
as $$
declare
  space constant text := perch.require_space(current_document.space_id, to_write => false);
  relation constant perch.synced_relations := perch.document_relation(app_id, table_name);
  columns jsonb;
begin
  perform perch.document_fields(current_document.app_id, current_document.table_name);
  if relation.relation is not null then
    perform perch.require_in_sight(relation, space, current_document.record_id);
    columns := perch.row_columns(relation, space, current_document.record_id);
    return query
      select space, coalesce(d.merged_seq, 0), coalesce(d.revision, 0),
             case when d.space_id is null or d.projected_seq = d.merged_seq then columns::text end
        from (select where columns is not null) there
        left join perch.documents d
          on d.space_id = space and d.app_id = current_document.app_id
         and d.table_name = current_document.table_name and d.record_id = current_document.record_id;
  else
    return query
      select space, d.merged_seq, d.revision, case when d.projected_seq = d.merged_seq then r.data::text end
        from perch.documents d
        left join perch.records r
          on r.space_id = d.space_id and r.app_id = d.app_id and r.table_name = d.table_name
         and r.record_id = d.record_id
       where d.space_id = space and d.app_id = current_document.app_id
         and d.table_name = current_document.table_name and d.record_id = current_document.record_id
         and d.merged_seq > d.incarnation_seq;
  end if;
  if not found then
    perform perch.fail('PE404', 'there is no such document', jsonb_build_object(
      'app_id', current_document.app_id, 'table', current_document.table_name, 'id', current_document.record_id));
  end if;
end
$$;
grant execute on function perch.current_document to perch_app;

comment on function perch.current_document(text, text, text, text) is
  'The JSON of a document as text, with the position it shows (seq, and revision, which identifies it) and its space. data is null while the record is behind the document: a worker is about to write it. Errors: PE401, PE403, PE404 when the table is not declared or there is no such document, or none that the rules of its synced table show. Example: select * from perch.current_document(app_id => ''notes'', table_name => ''pages'', record_id => ''p1'');';
