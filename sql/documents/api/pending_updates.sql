create or replace function perch.pending_updates()
returns bigint
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  author constant text := perch.require_user();
begin
  return (select count(*) from perch.document_inbox i where i.user_id = author and i.status = 'pending');
end
$$;
grant execute on function perch.pending_updates to perch_app;

comment on function perch.pending_updates() is
  'How many of the current user''s updates and patches (perch.push_update, perch.patch_document, perch.push to a document) wait for a worker to merge them. Errors: PE401. Example: select perch.pending_updates();';
