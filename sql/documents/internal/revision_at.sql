create or replace function perch.revision_at(space_id text, app_id text, table_name text, record_id text, seq bigint)
returns bigint
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return (
    select u.revision from perch.document_updates u
     where u.space_id = revision_at.space_id and u.app_id = revision_at.app_id
       and u.table_name = revision_at.table_name and u.record_id = revision_at.record_id and u.seq = revision_at.seq);
end
$$;
grant execute on function perch.revision_at to perch_worker;

comment on function perch.revision_at(text, text, text, text, bigint) is
  'Private. What identifies a position of a document (see perch.document_updates); null where that is folded away.';
