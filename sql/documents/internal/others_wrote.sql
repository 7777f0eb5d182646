create or replace function perch.others_wrote(
  space_id text, app_id text, table_name text, record_id text, after_seq bigint, peers text[]
)
returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return exists (
    select from perch.document_updates u
     where u.space_id = others_wrote.space_id and u.app_id = others_wrote.app_id
       and u.table_name = others_wrote.table_name and u.record_id = others_wrote.record_id
       and u.seq > after_seq and u.pushed_seq is null and u.ends ?| peers);
end
$$;
grant execute on function perch.others_wrote to perch_worker;

comment on function perch.others_wrote(text, text, text, text, bigint, text[]) is
  'Private. Whether somebody appended to a document behind a position, other than by a push, and wrote under one of these Loro peers.';
