-- The one writer of columns that are documents. What it writes is captured like whatever else is written to the table,
-- as its author's, but is not taken for a write of somebody who is none of the document's (perch.note_column_writes).
create or replace function perch.write_columns(
  relation perch.synced_relations, record_id text, columns jsonb, author text
)
returns jsonb
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  settings constant jsonb := perch.pin_settings();
  user_before constant text := coalesce(current_setting('app.current_user_id', true), '');
  keys constant text[] := perch.key_columns(relation.relation);
  after jsonb;
begin
  perform set_config('perch.projecting', record_id, true), set_config('app.current_user_id', author, true);
  execute format(
    'update %1$s x set %2$s
       from (select (jsonb_populate_record(null::%1$s, $1)).*) n, (select (jsonb_populate_record(null::%1$s, $2)).*) k
      where %3$s returning to_jsonb(x.*)',
    relation.relation,
    (select string_agg(format('%1$I = n.%1$I', c), ', ') from jsonb_object_keys(columns) c),
    (select string_agg(format('x.%1$I = k.%1$I', c), ' and ') from unnest(keys) c))
    into after using columns, perch.row_key(relation.relation, record_id);
  perform set_config('perch.projecting', '', true), set_config('app.current_user_id', user_before, true);
  perform perch.check_deferred(array[relation.relation::oid]);
  perform perch.unpin_settings(settings);
  return after;
end
$$;
grant execute on function perch.write_columns to perch_worker;

comment on function perch.write_columns(perch.synced_relations, text, jsonb, text) is
  'Private. Writes what a document has into the columns of its row; returns the row as it then is, null when a trigger keeps it from being written. Errors: whatever the table''s rules refuse it with.';
