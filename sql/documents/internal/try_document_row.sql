-- Lock order: the row of a document, which is only tried (docs/architecture.md, "The order of locks"): for a caller who
-- holds what comes behind it.
create or replace function perch.try_document_row(key perch.tail_append, patience interval)
returns perch.documents
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  until constant timestamptz := clock_timestamp() + patience;
  document perch.documents;
begin
  loop
    select d.* into document from perch.documents d
     where d.space_id = key.space_id and d.app_id = key.app_id
       and d.table_name = key.table_name and d.record_id = key.record_id
       for no key update skip locked;
    exit when found or not exists (
      select from perch.documents d
       where d.space_id = key.space_id and d.app_id = key.app_id
         and d.table_name = key.table_name and d.record_id = key.record_id);
    if clock_timestamp() > until then
      raise exception 'somebody has had the document locked for %', patience using errcode = 'lock_not_available';
    end if;
    perform pg_sleep(0.002);
  end loop;
  return document;
end
$$;
grant execute on function perch.try_document_row to perch_worker;

comment on function perch.try_document_row(perch.tail_append, interval) is
  'Private. As perch.lock_document_row, but tries the row for so long without ever waiting for it. Error: 55P03 when somebody has it for longer.';
