create or replace function perch.document_access(user_id text, space_id text, space_ids text[] default null, writable_space_ids text[] default null)
returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  member_role text;
begin
  if coalesce(document_access.user_id, '') = '' then
    return null;
  end if;
  if document_access.space_id = perch.personal_space_id(document_access.user_id) then
    return 'write';
  end if;
  if document_access.space_ids is not null or document_access.writable_space_ids is not null then
    return case
      when document_access.space_id = any (document_access.writable_space_ids) then 'write'
      when document_access.space_id = any (document_access.space_ids) then 'read'
    end;
  end if;
  select m.role into member_role from perch.space_members m
   where m.space_id = document_access.space_id and m.user_id = document_access.user_id;
  return case when member_role in ('editor', 'owner') then 'write' when member_role = 'viewer' then 'read' end;
end
$$;

comment on function perch.document_access(text, text, text[], text[]) is
  'For perch_worker: what a user may do in a space, by the rules of perch.set_context: write, read, or null for nothing.';
