-- current_space_ids is what decides everywhere else; the rows of space_members and spaces only tell more about each.
create or replace function perch.list_spaces(after text default null, page_size integer default 1000)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  me constant text := perch.require_user();
  listed jsonb;
begin
  perform perch.check_page_size(list_spaces.page_size);
  select jsonb_agg(jsonb_build_object('space_id', p.id, 'role', p.role, 'personal', p.id = perch.personal_space_id(me),
           'from', case when p.member is null then 'token' else 'members' end) order by p.id collate "C")
    into listed
    from (
      select s.id, m.role as member,
             case when s.id = perch.personal_space_id(me) then 'owner'
                  when w.id is null then 'viewer'
                  when m.role = 'owner' then 'owner'
                  else 'editor' end as role
        from unnest(perch.current_space_ids()) s (id)
        -- Read once: a token may list thousands.
        left join (select distinct u.id from unnest(perch.writable_space_ids()) u (id)) w on w.id = s.id
        left join perch.space_members m on m.space_id = s.id and m.user_id = me
       where list_spaces.after is null or s.id collate "C" > list_spaces.after
       order by s.id collate "C"
       limit list_spaces.page_size
    ) p;
  return jsonb_build_object('spaces', coalesce(listed, '[]'),
    'next', case when jsonb_array_length(listed) = list_spaces.page_size then listed -> -1 ->> 'space_id' end);
end
$$;
grant execute on function perch.list_spaces to perch_app;

comment on function perch.list_spaces(text, integer) is
  'The spaces that the current user may read, by id: {"spaces": [{"space_id", "role", "personal", "from"}], "next"}. role: viewer, editor or owner, as it counts now; from: members (perch.space_members) or token (the lists of the context; the personal space too). Pass next as after until it is null. Errors: PE401, PE422. Example: select perch.list_spaces();';
