create or replace function perch.document_access(
  user_id text, space_id text, space_ids text[] default null, writable_space_ids text[] default null
)
returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  -- Null where the token names no spaces; whoever may write may read.
  has_lists constant boolean := space_ids is not null or writable_space_ids is not null;
  token_writes constant boolean := case when has_lists then coalesce(space_id = any (writable_space_ids), false) end;
  token_reads constant boolean := case when has_lists then coalesce(space_id = any (space_ids), false) end;
begin
  if coalesce(document_access.user_id, '') = '' then
    return null;
  end if;
  return case when perch.may_write(space_id, user_id, token_writes) then 'write'
              when perch.may_read(space_id, user_id, token_reads) then 'read' end;
end
$$;
grant execute on function perch.document_access to perch_worker;

comment on function perch.document_access(text, text, text[], text[]) is
  'For perch_worker: what a user may do in a space, by the rules of perch.set_context: write, read, or null for nothing.';
