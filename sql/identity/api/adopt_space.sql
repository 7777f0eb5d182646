-- What an app did by naming a space in the lists of a context (or a token) goes on as memberships. No user may call
-- this: whoever does decides whose the space is, and what is in it.
create or replace function perch.adopt_space(space_id text, owner_id text)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  names constant text[] := array['app.current_user_id', 'app.current_user_space_ids',
    'app.current_user_writable_space_ids'];
  before constant text[] := array(select coalesce(current_setting(n.name, true), '')
    from unnest(names) with ordinality n (name, nth) order by n.nth);
begin
  perform perch.check_id(adopt_space.space_id, 'space_id');
  -- As the app would, whose word it is that this user may write there.
  perform perch.set_context(user_id => adopt_space.owner_id, space_ids => array[adopt_space.space_id],
    writable_space_ids => array[adopt_space.space_id]);
  perform perch.create_space(space_id => adopt_space.space_id);
  for nth in 1 .. cardinality(names) loop
    perform set_config(names[nth], before[nth], true);
  end loop;
end
$$;

comment on function perch.adopt_space(text, text) is
  'For the DBA: makes a user the owner of a space that has been in use without members, because the app named it in the lists of contexts or tokens. Its content stays as it is; the owner adds the others with perch.set_space_member. Also for a space that nobody has used yet. Again with an owner of it: nothing happens. Errors: PE401 without an owner, PE409 when the space has owners already, PE422 for an unusable id or one that starts with ~. Example: select perch.adopt_space(space_id => ''team'', owner_id => ''ann'');';
