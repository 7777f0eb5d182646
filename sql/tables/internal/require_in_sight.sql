-- What is out of sight is told of as if it were not there, in the words of perch.require_row_document.
create or replace function perch.require_in_sight(
  relation perch.synced_relations, space_id text, record_id text
)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  hidden text;
begin
  if relation.row_filter is null and relation.column_roles = '{}' or relation.relation is null then
    return;
  end if;
  select min(h) into hidden
    from unnest(perch.columns_hidden_from(relation, (perch.roles_in(array[space_id]))[1])::text[]) h
   where relation.documents ? h;
  if hidden is not null then
    perform perch.fail('PE403', format('column %s is not for this user''s role in the space', hidden),
      jsonb_build_object('table', relation.table_name, 'column', hidden),
      'The column_roles of the table say which roles see it.');
  elsif not (perch.rows_with_documents_in_sight(relation, array[space_id], array[record_id]))[1] then
    perform perch.fail('PE404', 'there is no such row in this space', jsonb_build_object('table', relation.table_name,
      'id', require_in_sight.record_id), 'Insert the row first, by SQL or by perch.push.');
  end if;
end
$$;

comment on function perch.require_in_sight(perch.synced_relations, text, text) is
  'Private. Returns where the rules of a synced table let the current user see the document of this row, or there are none. Errors: PE403 for the columns, PE404 for the row.';
