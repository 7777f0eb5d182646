-- Who makes spaces may put anybody into them, who then reads them with every pull. So their number is bounded, by
-- maker. It is counted without a lock: of two at once both may be the last.
create or replace function perch.create_space(space_id text)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  me constant text := perch.require_user();
  max_spaces constant bigint := perch.setting('max_spaces_made', 1000);
  is_taken boolean;
  could_write constant boolean := coalesce(create_space.space_id = any (perch.writable_space_ids()), false);
begin
  if perch.catches_undone() then
    begin
      perform perch.create_space(space_id);
      return;
    exception when serialization_failure then
      perform perch.fail_undone(sqlerrm);
    end;
  end if;
  perform perch.check_id(create_space.space_id, 'space_id');
  if create_space.space_id like '~%' then
    perform perch.fail('PE422', 'a space id that starts with ~ names a personal space, which needs no creating',
      jsonb_build_object('space_id', create_space.space_id),
      'Give a shared space an id that begins with another character.');
  end if;

  if perch.owns_space(create_space.space_id) then
    return;
  end if;

  -- From here on the policies show us the space as to somebody in it. When this fails, so do the settings.
  perform set_config('app.current_user_space_ids',
    (array_remove(perch.current_space_ids(), create_space.space_id) || create_space.space_id)::text, true);
  perform set_config('app.current_user_writable_space_ids',
    (array_remove(perch.writable_space_ids(), create_space.space_id) || create_space.space_id)::text, true);

  -- A space that is in use without a row here is managed by the app (its ids came in set_context's lists): whoever
  -- creates it would become the owner of what is in it, so only somebody whom the app already lets write may.
  if not could_write and perch.space_in_use(create_space.space_id) then
    is_taken := true;
  elsif (select count(*) from perch.spaces s where s.created_by = me) >= max_spaces then
    perform perch.fail('PE413', format('this user has made %s spaces, which is the limit', max_spaces),
      jsonb_build_object('limit', 'max_spaces_made', 'max', max_spaces),
      'The DBA sets the limit: perch.set_limit.');
  else
    insert into perch.spaces (space_id, created_by) values (create_space.space_id, me) on conflict do nothing;
    is_taken := not found;
  end if;

  if not is_taken then
    insert into perch.space_members (space_id, user_id, role) values (create_space.space_id, me, 'owner');
  -- Asked behind it: another call of the caller's may have made it since.
  elsif not perch.owns_space(create_space.space_id) then
    perform perch.fail('PE409', 'this space id is taken', jsonb_build_object('space_id', create_space.space_id),
      'Choose another id: a random one, say. A space that tokens have made gets its owner by perch.adopt_space.');
  end if;
end
$$;
grant execute on function perch.create_space to perch_app;

comment on function perch.create_space(text) is
  'Makes a shared space; the caller becomes its owner, and may use it in the same transaction. Again by an owner: nothing happens. Errors: PE401, PE409 when the id is taken, PE413 when the caller has made max_spaces_made (1000) already, PE422 for an unusable id or one that starts with ~. Example: select perch.create_space(space_id => ''team'');';
