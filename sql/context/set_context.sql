create or replace function perch.set_context(
  user_id text,
  space_ids text[] default null,
  writable_space_ids text[] default null
)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  readable text[] := set_context.space_ids;
  writable text[] := set_context.writable_space_ids;
  personal text;
begin
  if coalesce(set_context.user_id, '') = '' then
    perform perch.fail('PE401', 'the user is empty', hint => 'Pass the id of the user on whose behalf this transaction runs.');
  end if;
  -- One byte less than a space id may have: the personal space is ~<user_id>.
  perform perch.check_id(set_context.user_id, 'user_id', 255);
  personal := perch.personal_space_id(set_context.user_id);

  -- First of all, the user: the policy of space_members shows each user their own memberships. That policy also reads the
  -- lists, and what the connection was left with may not even be an array.
  perform set_config('app.current_user_id', set_context.user_id, true);
  perform set_config('app.current_user_space_ids', '', true);
  perform set_config('app.current_user_writable_space_ids', '', true);

  if readable is null and writable is null then
    select coalesce(array_agg(m.space_id), '{}'),
           coalesce(array_agg(m.space_id) filter (where m.role in ('editor', 'owner')), '{}')
      into readable, writable
      from perch.space_members m
     where m.user_id = set_context.user_id;
  else
    readable := array_remove(coalesce(readable, '{}'), null);
    writable := array_remove(coalesce(writable, '{}'), null);
    -- Who may write may read.
    readable := readable || array(select w from unnest(writable) w where w <> all (readable));
  end if;

  perform set_config('app.current_user_space_ids', (array_remove(readable, personal) || personal)::text, true);
  perform set_config('app.current_user_writable_space_ids', (array_remove(writable, personal) || personal)::text, true);
end
$$;

comment on function perch.set_context(text, text[], text[]) is
  'Names the user for the rest of the transaction. With lists, they are the memberships (spaces that may be read; those that may be written, by default only the personal space); without, memberships are read from perch.space_members (a viewer reads; an editor or owner also writes). The personal space is always included. Errors: PE401 when the user is empty, PE422 or PE413 when the id is unusable. Example: select perch.set_context(user_id => ''alice'');';
