-- What the policies show is told by the context, so a reader of a service is given that of somebody who may read
-- these spaces, and write none. It lasts until what stood there is put back, by a second call; or until what failed
-- is undone.
create or replace function perch.read_as(settings text[])
returns text[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  before constant text[] := array[current_setting('app.current_user_id', true),
    current_setting('app.current_user_space_ids', true), current_setting('app.current_user_writable_space_ids', true)];
begin
  perform set_config('app.current_user_id', coalesce(settings[1], ''), true),
    set_config('app.current_user_space_ids', coalesce(settings[2], ''), true),
    set_config('app.current_user_writable_space_ids', coalesce(settings[3], ''), true);
  return before;
end
$$;

comment on function perch.read_as(text[]) is
  'Private. Sets who is asking: the user, the spaces that may be read and those that may be written, as array literals. Returns what stood there.';
