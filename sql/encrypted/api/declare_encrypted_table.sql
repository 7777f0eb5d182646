create or replace function perch.declare_encrypted_table(app_id text, table_name text)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform perch.check_id(declare_encrypted_table.app_id, 'app_id', 64);
  perform perch.check_id(declare_encrypted_table.table_name, 'table_name', 128);
  if exists (select from perch.document_tables t
              where t.app_id = declare_encrypted_table.app_id
                and t.table_name = declare_encrypted_table.table_name) then
    perform perch.fail('PE422', format('table %s holds documents that are not encrypted',
      declare_encrypted_table.table_name),
      jsonb_build_object('table', declare_encrypted_table.table_name), 'Declare a table of another name.');
  end if;
  if not exists (select from perch.encrypted_tables t
                  where t.app_id = declare_encrypted_table.app_id
                    and t.table_name = declare_encrypted_table.table_name) then
    perform perch.require_no_records(declare_encrypted_table.app_id, declare_encrypted_table.table_name);
  end if;
  insert into perch.encrypted_tables as t (app_id, table_name)
  values (declare_encrypted_table.app_id, declare_encrypted_table.table_name)
  on conflict on constraint encrypted_tables_pkey do nothing;
end
$$;

comment on function perch.declare_encrypted_table(text, text) is
  'For the DBA, in a migration: makes it a table of end-to-end encrypted documents, which clients reach as %ELO rooms. The server cannot read them, so they have no fields and no records. Declaring again changes nothing. From then on it takes no plain records by perch.push. Errors: PE422 when the table is declared with fields, or has plain records; PE409 when open transactions are in the way for 2 seconds. Example: select perch.declare_encrypted_table(app_id => ''notes'', table_name => ''diaries'');';
