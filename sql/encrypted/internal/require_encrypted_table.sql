create or replace function perch.require_encrypted_table(app_id text, table_name text)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (select from perch.encrypted_tables t
                  where t.app_id = require_encrypted_table.app_id
                    and t.table_name = require_encrypted_table.table_name) then
    perform perch.fail('PE404', format('%s is not a table of encrypted documents of app %s',
      require_encrypted_table.table_name,
      require_encrypted_table.app_id),
      jsonb_build_object('app_id', require_encrypted_table.app_id, 'table', require_encrypted_table.table_name),
      'Check both names; a DBA declares such a table with perch.declare_encrypted_table.');
  end if;
end
$$;
grant execute on function perch.require_encrypted_table to perch_worker;

comment on function perch.require_encrypted_table(text, text) is
  'Private. PE404 unless the table is declared as one of encrypted documents.';
