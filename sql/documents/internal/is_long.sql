-- Some such values fit into a row beside its other columns; a row that grows over 2 kB is compressed, or kept in pieces
-- elsewhere, and either is done again with every change of it.
create or replace function perch.is_long(value jsonb)
returns boolean
language sql stable parallel safe
return pg_column_size(value) > 500;
grant execute on function perch.is_long to perch_worker;

comment on function perch.is_long(jsonb) is
  'Private. Whether a field''s value stands in stored_records.long_data rather than in data.';
