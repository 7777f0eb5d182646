-- Lock order: the typed row, before documents and counters (docs/architecture.md, "The order of locks").
--
-- Runs as perch_owner, who may read and write the app's table, for workers that may not.
create or replace function perch.lock_row(relation perch.synced_relations, record_id text)
returns jsonb
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  settings constant jsonb := perch.pin_settings();
  found record;
begin
  begin
    select * into found from perch.find_rows(relation, perch.key_columns(relation.relation),
      array[perch.row_key(relation.relation, record_id)], to_lock => true, is_new => false);
  exception when data_exception or integrity_constraint_violation then
    -- No key of this table.
    perform perch.unpin_settings(settings);
    return null;
  end;
  perform perch.unpin_settings(settings);
  return case when found.locked[1] then found.rows_there[1] end;
end
$$;
grant execute on function perch.lock_row to perch_worker;

comment on function perch.lock_row(perch.synced_relations, text) is
  'Private. Locks a row of a synced table until the end of the transaction; returns it, null when there is none.';
