create or replace function perch.writable_space_ids()
returns text[]
language plpgsql stable parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
  personal constant text := perch.personal_space_id(current_setting('app.current_user_id', true));
  listed text[];
begin
  if personal is null then
    return '{}';
  end if;
  listed := coalesce(nullif(current_setting('app.current_user_writable_space_ids', true), ''), '{}');
  if personal = any (listed) then
    return listed;
  end if;
  return listed || personal;
end
$$;

comment on function perch.writable_space_ids() is
  'The spaces the current user may write: those of the setting app.current_user_writable_space_ids (an array literal), and the personal space. Empty when no user is named. A malformed setting raises 22P02, so it shows nothing.';
