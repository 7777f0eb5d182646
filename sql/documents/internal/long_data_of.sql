create or replace function perch.long_data_of(space_id text, app_id text, table_name text, record_id text)
returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  -- Appended to nothing, and so in memory once: each look at a value that is stored compressed would unpack it again.
  return (
    select r.long_data || '{}' from perch.stored_records r
     where r.space_id = long_data_of.space_id and r.app_id = long_data_of.app_id
       and r.table_name = long_data_of.table_name and r.record_id = long_data_of.record_id);
end
$$;
grant execute on function perch.long_data_of to perch_worker;

comment on function perch.long_data_of(text, text, text, text) is
  'Private. The long fields of the record of a document.';
