create or replace function perch.is_overtaken(space_id text, app_id text, table_name text, record_id text, seq bigint)
returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return exists (
    select from perch.document_updates u
     where u.space_id = is_overtaken.space_id and u.app_id = is_overtaken.app_id
       and u.table_name = is_overtaken.table_name and u.record_id = is_overtaken.record_id
       and u.seq > is_overtaken.seq and u.pushed_seq is null);
end
$$;
grant execute on function perch.is_overtaken to perch_worker;

comment on function perch.is_overtaken(text, text, text, text, bigint) is
  'Private. Whether somebody appended to a document, other than by a push, behind a position.';
