create or replace function perch.require_row_document(space_id text, app_id text, table_name text, record_id text)
returns text
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  status constant text := perch.adopt_row(space_id, app_id, table_name, record_id);
begin
  if status = 'missing' then
    perform perch.fail('PE404', 'there is no such row in this space', jsonb_build_object('table',
      require_row_document.table_name, 'id', require_row_document.record_id),
      'Insert the row first, by SQL or by perch.push.');
  elsif status = 'refused' then
    perform perch.fail('PE422', 'a document cannot hold what the columns of this row have', jsonb_build_object('table',
      require_row_document.table_name, 'id', require_row_document.record_id),
      'Write something else into them, by SQL; perch doctor says what is wrong with what they have.');
  end if;
  return status;
end
$$;

comment on function perch.require_row_document(text, text, text, text) is
  'Private. perch.adopt_row for whoever is about to write: ready, waiting or null. Errors: PE404 when there is no such row, PE422 when the document cannot take what its columns have.';
