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
  readable text[];
  writable text[];
  personal text;
  alone text;
  done text[];
begin
  -- One byte less than a space id may have: the personal space is ~<user_id>.
  if (user_id <> '' and octet_length(user_id) <= 255 and user_id !~ E'[\\x01-\\x1f\\x7f]') is not true then
    if coalesce(user_id, '') = '' then
      perform perch.fail('PE401', 'the user is empty',
        hint => 'Pass the id of the user on whose behalf this transaction runs.');
    end if;
    perform perch.check_id(set_context.user_id, 'user_id', 255);
  end if;
  alone := array[perch.personal_space_id(user_id)]::text;

  -- First of all, the user, who has the personal space alone: the policy of space_members shows each user their own
  -- memberships. That policy also reads the lists, and what the connection was left with may not even be an array.
  -- (One assignment is evaluated at once; perform would start a statement for each.)
  done := array[set_config('app.current_user_id', user_id, true), set_config('app.current_user_space_ids', alone, true),
                set_config('app.current_user_writable_space_ids', alone, true)];

  if space_ids is null and writable_space_ids is null then
    select array_agg(m.space_id), array_agg(m.space_id) filter (where perch.role_writes(m.role))
      into readable, writable
      from perch.space_members m
     where m.user_id = set_context.user_id;
    if readable is null then
      return;
    end if;
    personal := perch.personal_space_id(user_id);
    readable := array_append(array_remove(readable, personal), personal);
    writable := array_append(array_remove(writable, personal), personal);
  else
    personal := perch.personal_space_id(user_id);
    readable := array_append(array_remove(array_remove(space_ids, null), personal), personal);
    writable := array_append(array_remove(array_remove(writable_space_ids, null), personal), personal);
    -- Who may write may read.
    if not readable @> writable then
      readable := readable || array(select w from unnest(writable) w where w <> all (readable));
    end if;
  end if;

  done := array[set_config('app.current_user_space_ids', readable::text, true),
    set_config('app.current_user_writable_space_ids', writable::text, true)];
end
$$;
grant execute on function perch.set_context to perch_app, perch_worker;

comment on function perch.set_context(text, text[], text[]) is
  'Names the user for the rest of the transaction. With lists, they are the memberships (spaces that may be read; those that may be written, by default only the personal space); without, memberships are read from perch.space_members (a viewer reads; an editor or owner also writes). The personal space is always included. Errors: PE401 when the user is empty, PE422 or PE413 when the id is unusable. Example: select perch.set_context(user_id => ''alice'');';
