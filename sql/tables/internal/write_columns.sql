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
  own_path constant text := current_setting('search_path');
  statement text;
  after jsonb;
begin
  statement := format(
    'with made as (
       update %1$s x set %2$s
         from (select * from pg_catalog.jsonb_to_record($1) as r (%4$s) offset 0) n,
              (select * from pg_catalog.jsonb_to_record($2) as r (%5$s) offset 0) k
        where %3$s returning row(x.*)::%1$s as row)
     select pg_catalog.to_jsonb(m.row) from made m',
    relation.relation,
    (select string_agg(format('%1$I = n.%1$I', c), ', ') from jsonb_object_keys(columns) c),
    (select string_agg(format('x.%1$I operator(pg_catalog.=) k.%1$I', c), ' and ') from unnest(keys) c),
    perch.typed_columns(relation.relation, array(select jsonb_object_keys(columns))),
    perch.typed_columns(relation.relation, keys));
  -- Of this very statement's trigger: what others make of the row behind it is somebody else's.
  perform set_config('perch.projecting', concat(pg_trigger_depth() + 1, perch.projected_row(relation.app_id,
            relation.table_name, record_id)), true),
          set_config('app.current_user_id', author, true),
          set_config('search_path', perch.apps_path(array[relation.relation::oid]), true);
  execute statement into after using columns, perch.row_key(relation.relation, record_id);
  perform set_config('search_path', own_path, true);
  perform set_config('perch.projecting', '', true), set_config('app.current_user_id', user_before, true);
  perform perch.check_deferred(array[relation.relation::oid]);
  perform perch.unpin_settings(settings);
  return after;
end
$$;
grant execute on function perch.write_columns to perch_worker;

comment on function perch.write_columns(perch.synced_relations, text, jsonb, text) is
  'Private. Writes what a document has into the columns of its row; returns the row as it then is, null when a trigger keeps it from being written. Errors: whatever the table''s rules refuse it with.';
