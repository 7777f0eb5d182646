-- Of its owner, whoever asks: a plan that goes by policies is made anew whenever another role asks, and a DocumentStore
-- asks as two in each transaction. It says nothing that they may not read.
create or replace function perch.document_relation(app_id text, table_name text)
returns perch.synced_relations
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  return (
    select r from perch.synced_relations r
     where r.app_id = document_relation.app_id and r.table_name = document_relation.table_name
       and r.documents <> '{}');
end
$$;
grant execute on function perch.document_relation to perch_worker;

comment on function perch.document_relation(text, text) is
  'Private. The synced table of this name, where it has documents in columns; else null.';
