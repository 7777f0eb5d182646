create or replace function perch.read_space(space_id text, after text default null, page_size integer default 1000)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  space constant text := perch.require_space(read_space.space_id, false);
  members jsonb;
  invitations jsonb;
begin
  perform perch.check_page_size(read_space.page_size);
  select jsonb_agg(jsonb_build_object('user_id', p.user_id, 'role', p.role) order by p.user_id collate "C") into members
    from (
      select m.user_id, m.role from perch.space_members m
       where m.space_id = space and (read_space.after is null or m.user_id > read_space.after)
       order by m.user_id
       limit read_space.page_size
    ) p;
  -- The policies show them to owners.
  select jsonb_agg(jsonb_build_object('invitation_id', i.invitation_id, 'role', i.role, 'uses_left', i.uses_left,
           'created_by', i.created_by, 'expires_at', perch.time_text(i.expires_at))
             order by i.expires_at, i.invitation_id)
    into invitations
    from perch.space_invitations i
   where i.space_id = space and i.uses_left > 0 and i.expires_at > clock_timestamp();
  return jsonb_build_object('space_id', space, 'members', coalesce(members, '[]'),
    'invitations', coalesce(invitations, '[]'),
    'next', case when jsonb_array_length(members) = read_space.page_size then members -> -1 ->> 'user_id' end);
end
$$;
grant execute on function perch.read_space to perch_app;

comment on function perch.read_space(text, text, integer) is
  'Who is in a space (null: the personal one): {"space_id", "members": [{"user_id", "role"}], "invitations": [{"invitation_id", "role", "uses_left", "created_by", "expires_at"}], "next"}. For whoever may read the space; invitations are shown to its owners only. Pass next as after until it is null. A personal space, and one that is managed by tokens, has no members here. Errors: PE401, PE403, PE422. Example: select perch.read_space(space_id => ''team'');';
