-- What was made of an earlier state of a document is a patch on that, for the worker to merge: the row shows the
-- outcome when it is projected, and never what the client had instead of what others typed meanwhile. Other columns
-- have no earlier state to be based on, and a patch that turns out to be none could not take them back.
create or replace function perch.check_based_row(relation perch.synced_relations, change perch.change)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  writable perch.synced_relations := relation;
  patch jsonb;
  other text;
begin
  writable.writable_columns := array(
    select w from unnest(relation.writable_columns) w
     where w <> all (perch.hidden_columns(relation.app_id, relation.table_name, change.space_id)));
  patch := perch.check_row(writable, perch.key_columns(relation.relation), change);
  select min(c) into other from jsonb_object_keys(patch) c where not relation.documents ? c;
  if other is not null then
    perform perch.fail('PE422', format('base_seq is a position of a document, and column %s is none', other),
      jsonb_build_object('table', change.table_name, 'column', other),
      'Push the columns that are documents with base_seq, and the others in a change of their own.');
  end if;
  perform perch.check_patch(change.table_name, perch.document_fields(relation.app_id, change.table_name), patch);
end
$$;

comment on function perch.check_based_row(perch.synced_relations, perch.change) is
  'Private. Returns where an update of a row that says on which position of its document it is based (base_seq) is a patch of that which the user''s clients may push. Errors: PE403 naming the column, PE422.';
